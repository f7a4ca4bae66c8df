"""Names of what is reported, in one place. Written by `train/`, read by everything above it."""

VAL_MIOU = "val/miou"
VAL_TEACHER_MIOU = "val/teacher/miou"
EPOCH = "training_iteration"
"""Epochs done. Always reported, so that it survives restarts."""

VAL_CONFUSION = "val/confusion"
"""The student's confusion matrix: pixel counts as a list of rows; row = true class, column = predicted class."""

IMAGE_DATA = "image_data"
"""On the way from a worker to the driver: image files by name, base64. Never on record."""
IMAGES = "images"
"""On record: the folder of an epoch's image files, relative to the trial's folder."""
IMAGE_RELIABLE = "reliable"
"""The one kind of map whose values are no classes: 1 where a pixel is reliable, 0 where not."""

ENTROPY_BINS = 32
"""Bins of `diag/entropy/hist`, equally wide on [0, ln(number of classes)] (natural log, in nats)."""


def val_iou(class_name: str, teacher: bool = False) -> str:
    """Name of one class's IoU."""
    return f"val/teacher/iou/{class_name}" if teacher else f"val/iou/{class_name}"


def loss(term: str) -> str:
    """Name of a training loss: total, supervised, unsupervised, or contrastive."""
    return f"train/loss/{term}"


def per_class(group: str, class_name: str) -> str:
    """Name of a per-class diagnostic, such as `diag/bank/fill/<class>`."""
    return f"diag/{group}/{class_name}"
