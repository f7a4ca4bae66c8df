import math

import numpy as np
import pytest
import torch

from u2pl_ray.method.statistics import BINS, RELIABLE, RIGHT, UNKNOWN, UNRELIABLE, WRONG, pixel_counts


def test_by_hand() -> None:
    """Five pixels of a two-class problem, one of them ignored; entropies in 32nds of ln 2."""
    labels = torch.tensor([[[0, 1, 1, 0, 255]]], dtype=torch.uint8)
    truth = torch.tensor([[[0, 0, 255, 0, 1]]], dtype=torch.uint8)
    reliable = torch.tensor([[[True, False, True, True, False]]])
    entropies = torch.tensor([[[0.0, 31.5, 4.5, 32.0, math.nan]]]) * math.log(2) / 32
    counts = pixel_counts(labels, reliable, truth, entropies, 2)
    assert counts.shape == (2, 2, 3, BINS)
    assert counts.sum() == 4
    assert counts[0, RELIABLE, RIGHT, 0] == 1
    assert counts[1, UNRELIABLE, WRONG, 31] == 1
    assert counts[1, RELIABLE, UNKNOWN, 4] == 1
    assert counts[0, RELIABLE, RIGHT, 31] == 1  # the greatest entropy is in the last bin


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
@pytest.mark.parametrize("classes", [2, 21])
def test_matches_a_loop_over_pixels(classes: int, dtype: torch.dtype) -> None:
    draws = torch.Generator().manual_seed(0)
    shape = (3, 9, 11)
    labels = torch.randint(0, classes, shape, generator=draws, dtype=torch.uint8)
    labels[torch.rand(shape, generator=draws) < 0.2] = 255
    truth = torch.where(torch.rand(shape, generator=draws) < 0.5, labels, 0).to(dtype)
    truth[torch.rand(shape, generator=draws) < 0.3] = 255
    reliable = torch.rand(shape, generator=draws) < 0.5
    entropies = torch.rand(shape, generator=draws) * math.log(classes)
    entropies[labels == 255] = math.nan
    want = np.zeros((classes, 2, 3, BINS), dtype=np.int64)
    for at in np.ndindex(*shape):
        if labels[at] == 255:
            continue
        verdict = UNKNOWN if truth[at] == 255 else (RIGHT if truth[at] == labels[at] else WRONG)
        place = min(BINS - 1, int(entropies[at].item() / math.log(classes) * BINS))
        want[labels[at], int(reliable[at]), verdict, place] += 1
    got = pixel_counts(labels, reliable, truth, entropies, classes)
    assert got.dtype == torch.int64
    assert np.array_equal(got.numpy(), want)


def test_nothing_valid_counts_nothing() -> None:
    ignored = torch.full((1, 4, 4), 255, dtype=torch.uint8)
    nothing = torch.full((1, 4, 4), math.nan)
    assert not pixel_counts(ignored, nothing > 0, ignored, nothing, 3).any()
