"""Boundary IoU (Cheng et al., "Boundary IoU", CVPR 2021): how well contours are met, whatever the size of the areas.

Of each class only the pixels near its contours are compared, in label and prediction: with G and P the class's pixels
and G_d, P_d those within d pixels of their contours, |(G_d & G) & (P_d & P)| / |(G_d & G) | (P_d & P)|, from counts
summed over the images. As in the published code, distance is counted over the eight neighbours, d is a share of the
image's diagonal, and the image's border is a contour. Pixels labeled 255 are neither counted nor a contour.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from u2pl_ray.config.metrics import boundary_iou, boundary_miou
from u2pl_ray.config.schema import IGNORE


def boundary_counts(labels: Tensor, predicted: Tensor, num_classes: int, width: float) -> Tensor:
    """Count the pixels near contours: int64 [3, C] on the CPU; rows: in both, in the label, in the prediction.

    Args:
        labels: uint8 [B, h, w], 255 where ignored.
        predicted: uint8 [B, h, w], below `num_classes`.
        num_classes: C.
        width: d as a share of the diagonal; the paper: 0.02, for Cityscapes 0.005.
    """
    distance = max(1, round(width * float(np.hypot(*labels.shape[-2:]))))
    total = np.zeros((3, num_classes), np.int64)
    for truth, guess in zip(labels.cpu().numpy(), predicted.cpu().numpy(), strict=True):
        known = truth != IGNORE
        guess = np.where(known, guess, IGNORE)
        here, there = near_contours(truth, distance) & known, near_contours(guess, distance) & known
        both = here & there & (truth == guess)
        for row, chosen, of in ((0, both, truth), (1, here, truth), (2, there, guess)):
            total[row] += np.bincount(of[chosen], minlength=num_classes)
    return torch.from_numpy(total)


def near_contours(labels: np.ndarray, distance: int) -> np.ndarray:
    """Find the pixels within `distance` of a pixel of another class, or of the outside of the image: bool [h, w].

    A pixel lies near its own class's contour if the largest and the smallest label around it differ, so that all
    classes are found at once.

    Args:
        labels: uint8 [h, w]; 255 is no class.
        distance: in pixels, over the eight neighbours, from 1 on.
    """
    square = np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)
    largest = cv2.dilate(np.where(labels == IGNORE, 0, labels), square)
    smallest = cv2.erode(labels, square)  # 255 is never the smallest where there is a class
    found: np.ndarray = largest != smallest
    found[:distance] = found[-distance:] = True
    found[:, :distance] = found[:, -distance:] = True
    return found


def boundary_scores(counts: Tensor, classes: Sequence[str], teacher: bool = False) -> dict[str, float]:
    """Return `val/boundary/miou`, the mean over the classes that the labels show, and `val/boundary/iou/<class>`.

    Args:
        counts: of `boundary_counts`, summed over the images.
        classes: names in label order.
        teacher: the names are those under `val/teacher/`.
    """
    both, truth, guess = counts.double()
    values = both / (truth + guess - both)
    shown = truth > 0
    result = {boundary_miou(teacher): float(values[shown].mean()) if bool(shown.any()) else 0.0}
    for name, value, there in zip(classes, values.tolist(), shown.tolist(), strict=True):
        if there:
            result[boundary_iou(name, teacher)] = value
    return result
