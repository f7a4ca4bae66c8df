"""Scoring a network on whole images: one confusion matrix, summed over workers, nothing counted twice."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from u2pl_ray.config import metrics as names
from u2pl_ray.config.metrics import val_iou
from u2pl_ray.config.schema import IGNORE

if TYPE_CHECKING:
    from u2pl_ray.data.loaders import EvaluationBatch


@torch.inference_mode()
def predict(model: nn.Module, images: Tensor) -> Tensor:
    """Class of every pixel: images [B, 3, h, w] to int64 [B, h, w] (argmax of the upsampled logits)."""
    logits = F.interpolate(model(images).logits.float(), size=images.shape[-2:], mode="bilinear", align_corners=False)
    return logits.argmax(dim=1)


@torch.inference_mode()
def confusion(
    models: Sequence[nn.Module], batches: Iterable["EvaluationBatch"], num_classes: int, device: torch.device
) -> list[Tensor]:
    """Confusion matrices of `models` over one pass through this worker's share of a split.

    Returns:
        For each model int64 [C, C] on `device`: rows are true classes, columns predicted ones; pixels labeled 255 are
        not counted. Sum them over workers before scoring.
    """
    cells = num_classes * num_classes
    counts = [torch.zeros(cells, dtype=torch.int64, device=device) for _ in models]
    modes = [model.training for model in models]
    for model in models:
        model.eval()
    for batch in batches:
        images = batch.images.to(device, non_blocking=True)
        labels = batch.labels.to(device, non_blocking=True).long()
        rows = torch.where(labels == IGNORE, num_classes, labels) * num_classes  # what is ignored goes past the end
        for model, count in zip(models, counts, strict=True):
            cell = (rows + predict(model, images)).flatten()
            count += torch.bincount(cell, minlength=cells + num_classes)[:cells]
    for model, mode in zip(models, modes, strict=True):
        model.train(mode)
    return [count.view(num_classes, num_classes) for count in counts]


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
