"""Boundary IoU against the published definition, class by class, and against values known by hand."""

import cv2
import numpy as np
import pytest
import torch

from u2pl_ray.train.boundary import boundary_counts, boundary_scores, near_contours

NAMES = ["a", "b", "c", "d"]


def blobs(seed: int, height: int = 60, width: int = 81) -> np.ndarray:
    """Regions of four classes with smooth contours."""
    rng = np.random.default_rng(seed)
    fields = [cv2.resize(rng.normal(size=(6, 8)), (width, height), interpolation=cv2.INTER_CUBIC) for _ in range(4)]
    return np.argmax(fields, axis=0).astype(np.uint8)


def published(mask: np.ndarray, distance: int) -> np.ndarray:
    """The contour of one class as the paper's authors compute it: the mask without what `distance` erosions leave."""
    framed = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(framed, np.ones((3, 3), np.uint8), iterations=distance)
    return (mask - eroded[1:-1, 1:-1]).astype(bool)


@pytest.mark.parametrize("width", [0.0, 0.02, 0.1])
def test_counts_are_those_of_the_published_definition(width: float) -> None:
    labels, predicted = (np.stack([blobs(seed), blobs(seed + 9)]) for seed in (1, 2))
    distance = max(1, round(width * (60**2 + 81**2) ** 0.5))
    expected = np.zeros((3, 4), np.int64)
    for truth, guess in zip(labels, predicted, strict=True):
        for index in range(4):
            one, other = (published((map_ == index).astype(np.uint8), distance) for map_ in (truth, guess))
            expected[:, index] += [(one & other).sum(), one.sum(), other.sum()]
    found = boundary_counts(torch.from_numpy(labels), torch.from_numpy(predicted), 4, width)
    assert (found.numpy() == expected).all()
    assert (expected[0] > 0).all()
    assert (expected[0] < expected[1]).all()


@pytest.mark.parametrize("distance", [1, 3])
def test_ignored_pixels_are_no_contour_and_hide_none(distance: int) -> None:
    labels = blobs(3)
    labels[np.random.default_rng(0).random(labels.shape) < 0.2] = 255
    expected = np.zeros(labels.shape, bool)
    height, width = labels.shape
    for row in range(height):
        for column in range(width):
            if min(row, column, height - 1 - row, width - 1 - column) < distance:
                expected[row, column] = True
                continue
            square = labels[row - distance : row + distance + 1, column - distance : column + distance + 1]
            expected[row, column] = len(set(square[square != 255].tolist())) > 1
    known = labels != 255
    assert (near_contours(labels, distance) == expected)[known].all()


def test_a_right_prediction_is_one_whatever_it_says_of_ignored_pixels() -> None:
    labels = blobs(4)
    predicted = labels.copy()
    labels[20:30, 15:50] = 255
    predicted[20:30, 15:50] = 3
    counts = boundary_counts(torch.from_numpy(labels)[None], torch.from_numpy(predicted)[None], 4, 0.02)
    assert boundary_scores(counts, NAMES)["val/boundary/miou"] == 1.0


def test_a_shifted_contour_costs_more_here_than_in_iou() -> None:
    labels = np.zeros((100, 100), np.uint8)
    labels[:, 50:] = 1
    predicted = np.zeros((100, 100), np.uint8)
    predicted[:, 52:] = 1  # two pixels late
    counts = boundary_counts(torch.from_numpy(labels)[None], torch.from_numpy(predicted)[None], 2, 3 / 141.4)
    # d = 3. Class 1, 50 and 48 columns: 3 rows at top and bottom, 3 columns at the right, 3 at the contour.
    truth, guess = 2 * 3 * 50 + 94 * (3 + 3), 2 * 3 * 48 + 94 * (3 + 3)
    both = 2 * 3 * 48 + 94 * 3 + 94 * 1
    assert counts[:, 1].tolist() == [both, truth, guess]
    values = boundary_scores(counts, ["left", "right"], teacher=True)
    assert values["val/teacher/boundary/iou/right"] == pytest.approx(both / (truth + guess - both))
    assert values["val/teacher/boundary/iou/right"] < 48 / 50


def test_classes_that_no_label_shows_are_left_out() -> None:
    labels, predicted = torch.zeros(1, 40, 40, dtype=torch.uint8), torch.full((1, 40, 40), 2, dtype=torch.uint8)
    assert boundary_scores(boundary_counts(labels, predicted, 4, 0.02), NAMES) == {
        "val/boundary/miou": 0.0,
        "val/boundary/iou/a": 0.0,
    }
    ignored = torch.full((1, 40, 40), 255, dtype=torch.uint8)
    assert boundary_scores(boundary_counts(ignored, predicted, 4, 0.02), NAMES) == {"val/boundary/miou": 0.0}
