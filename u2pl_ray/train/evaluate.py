"""Scoring a network on a split: one confusion matrix, summed over workers, nothing counted twice."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from u2pl_ray.config import metrics as names
from u2pl_ray.config.evaluation import EvaluationConfig
from u2pl_ray.config.metrics import val_iou
from u2pl_ray.config.schema import IGNORE
from u2pl_ray.train.prediction import predict

if TYPE_CHECKING:
    from u2pl_ray.data.loaders import EvaluationBatch


def predictions(
    models: Sequence[nn.Module],
    batches: Iterable["EvaluationBatch"],
    device: torch.device,
    views: EvaluationConfig = EvaluationConfig(),  # noqa: B008  (frozen)
) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Yield for each batch the labels, uint8 [b, h, w], and what each model predicts, uint8 [b, h, w].

    The models are in eval mode meanwhile, and get their mode back.

    Args:
        models: networks on `device`.
        batches: whole images.
        device: of the tensors.
        views: how the images are seen.
    """
    modes = [model.training for model in models]
    for model in models:
        model.eval()
    try:
        for batch in batches:
            images = batch.images.to(device, non_blocking=True)
            labels = batch.labels.to(device, non_blocking=True)[:, : batch.size[0], : batch.size[1]]
            yield labels, [predict(model, images, batch.size, views) for model in models]
    finally:
        for model, mode in zip(models, modes, strict=True):
            model.train(mode)


def confusion(
    models: Sequence[nn.Module],
    batches: Iterable["EvaluationBatch"],
    num_classes: int,
    device: torch.device,
    views: EvaluationConfig = EvaluationConfig(),  # noqa: B008  (frozen)
) -> list[Tensor]:
    """Compute confusion matrices of `models` over one pass through this worker's share of a split.

    Args:
        models: networks on `device`.
        batches: whole images.
        num_classes: C.
        device: of the counts.
        views: how the images are seen.

    Returns:
        For each model int64 [C, C] on `device`: rows are true classes, columns predicted ones; pixels labeled 255 are
        not counted. Sum them over workers before scoring.
    """
    counts = [torch.zeros(num_classes, num_classes, dtype=torch.int64, device=device) for _ in models]
    for labels, predicted in predictions(models, batches, device, views):
        for count, one in zip(counts, predicted, strict=True):
            count += count_pairs(labels, one, num_classes)
    return counts


def count_pairs(labels: Tensor, predicted: Tensor, num_classes: int) -> Tensor:
    """Count the pixels of each true (row) and predicted (column) class: int64 [C, C].

    Args:
        labels: uint8, any shape; pixels labeled 255 are not counted.
        predicted: uint8 of the same shape, below `num_classes`.
        num_classes: C.
    """
    cells = num_classes * num_classes
    rows = torch.where(labels == IGNORE, num_classes, labels.long()) * num_classes  # what is ignored: past the end
    counts = torch.bincount((rows + predicted).flatten(), minlength=cells + num_classes)
    return counts[:cells].view(num_classes, num_classes)


def iou(matrix: Tensor) -> Tensor:
    """IoU of each class, [C] float64: intersection over union; NaN for a class that no label shows.

    Pixels wrongly given to such a class still count against the class they belong to.
    """
    matrix = matrix.double()
    intersection = matrix.diagonal()
    values = intersection / (matrix.sum(0) + matrix.sum(1) - intersection)
    return values.masked_fill(matrix.sum(1) == 0, torch.nan)


def scores(matrix: Tensor, classes: Sequence[str], teacher: bool = False) -> dict[str, float]:
    """`val/miou`, the mean over the classes that the labels show, and `val/iou/<class>` of each of them.

    With `teacher`, the names are those under `val/teacher/`.
    """
    values = iou(matrix)
    found = ~values.isnan()
    prefix = "val/teacher" if teacher else "val"
    result = {f"{prefix}/miou": float(values[found].mean()) if bool(found.any()) else 0.0}
    for name, value, there in zip(classes, values.tolist(), found.tolist(), strict=True):
        if there:
            result[val_iou(name, teacher)] = value
    return result


def best_so_far(history: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the largest validation mIoU of student and teacher, each by itself, and its epoch (1-based; the first).

    Args:
        history: metrics of the epochs so far, at least one.
    """
    result: dict[str, float] = {}
    for last, best, epoch in (
        (names.VAL_MIOU, names.BEST_MIOU, names.BEST_EPOCH),
        (names.VAL_TEACHER_MIOU, names.BEST_TEACHER_MIOU, names.BEST_TEACHER_EPOCH),
    ):
        values = [metrics[last] for metrics in history]
        result[best] = max(values)
        result[epoch] = history[values.index(result[best])][names.EPOCH]
    return result
