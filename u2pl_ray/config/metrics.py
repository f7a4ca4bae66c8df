"""Names of what is reported, in one place. Written by `train/`, read by everything above it."""

from collections.abc import Sequence

VAL_MIOU = "val/miou"
VAL_TEACHER_MIOU = "val/teacher/miou"
BEST_MIOU = "val/best_miou"
"""The largest `val/miou` so far: as an objective, a trial counts with its best epoch instead of its last."""
BEST_EPOCH = "val/best_epoch"
BEST_TEACHER_MIOU = "val/teacher/best_miou"
BEST_TEACHER_EPOCH = "val/teacher/best_epoch"
BEST = {VAL_MIOU: BEST_MIOU, VAL_TEACHER_MIOU: BEST_TEACHER_MIOU}
"""The best so far of what has one."""
_SPOKEN = {
    VAL_MIOU: "student mIoU",
    VAL_TEACHER_MIOU: "teacher mIoU",
    BEST_MIOU: "best student mIoU",
    BEST_TEACHER_MIOU: "best teacher mIoU",
}
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


def spoken(name: str) -> str:
    """Return a metric as a sentence names it: `teacher mIoU` for val/teacher/miou; others by their own name."""
    return _SPOKEN.get(name, name)


def val_iou(class_name: str, teacher: bool = False) -> str:
    """Name of one class's IoU."""
    return f"val/teacher/iou/{class_name}" if teacher else f"val/iou/{class_name}"


def boundary_miou(teacher: bool = False) -> str:
    """Name of the mean Boundary IoU, which `evaluate` computes and trainings do not."""
    return "val/teacher/boundary/miou" if teacher else "val/boundary/miou"


def boundary_iou(class_name: str, teacher: bool = False) -> str:
    """Name of one class's Boundary IoU."""
    return f"val/teacher/boundary/iou/{class_name}" if teacher else f"val/boundary/iou/{class_name}"


def loss(term: str) -> str:
    """Name of a training loss: total, supervised, unsupervised, or contrastive."""
    return f"train/loss/{term}"


def per_class(group: str, class_name: str) -> str:
    """Name of a per-class diagnostic, such as `diag/bank/fill/<class>`."""
    return f"diag/{group}/{class_name}"


_NUMBERS = (
    *(VAL_MIOU, VAL_TEACHER_MIOU, BEST_MIOU, BEST_EPOCH, BEST_TEACHER_MIOU, BEST_TEACHER_EPOCH, "train/lr"),
    *("diag/alpha", "diag/gamma", "diag/entropy/mean", "diag/entropy/max", "diag/reliable_fraction"),
    *("diag/pseudo_label/accuracy_reliable", "diag/pseudo_label/accuracy_unreliable", "diag/negatives/false_rate"),
    *("perf/workers", "perf/step_seconds", "perf/images_per_second", "perf/evaluation_seconds", "perf/memory_gib"),
    "perf/data_wait",
)
_TERMS = ("total", "supervised", "unsupervised", "contrastive")
_GROUPS = (
    *("gamma", "reliable_fraction", "pseudo_label/accuracy_reliable", "bank/fill", "bank/pushed", "bank/key_age"),
    *("anchors/missing", "negatives/missing", "negatives/false_rate"),
)


def reported(classes: Sequence[str]) -> set[str]:
    """Return the names of all numbers that a training can report, for a data set with these classes."""
    by_class = {
        name
        for label in classes
        for name in (val_iou(label), val_iou(label, teacher=True), *(per_class(group, label) for group in _GROUPS))
    }
    return {*_NUMBERS, *(loss(term) for term in _TERMS), *by_class}
