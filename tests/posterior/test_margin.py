"""The margin of early stopping: what share of runs at the cut it spares, against drawn noise."""

import numpy as np
import pytest

from u2pl_ray.config.errors import UserError
from u2pl_ray.posterior import Run, stopping_margin


def curves(count: int, noise: float) -> list[Run]:
    """Return runs that rise in straight lines, each from its own start, with white noise from epoch to epoch."""
    rng = np.random.default_rng(0)
    starts = 10 * rng.random(count)
    return [
        Run(str(i), 0, {e / 20: starts[i] + 0.5 * e + noise * rng.normal() for e in range(1, 21)}) for i in range(count)
    ]


def test_spares_what_one_epoch_alone_would_stop() -> None:
    margin = stopping_margin(curves(200, 0.8), wrong=0.1)
    assert margin == pytest.approx(0.8 * 1.2816, rel=0.15)  # the median is a little below the mean
    behind = 0.8 * np.random.default_rng(1).normal(size=20_000)  # runs whose trend is at the cut
    assert np.mean(behind < -margin) == pytest.approx(0.1, abs=0.04)


def test_needs_curves_and_scales_with_the_noise() -> None:
    assert stopping_margin([]) == 0.0
    assert stopping_margin([Run("a", 0, {0.2: 1.0, 1.0: 5.0})]) == 0.0
    assert stopping_margin(curves(50, 0.0)) == pytest.approx(0.0, abs=1e-6)
    assert stopping_margin(curves(50, 2.0)) == pytest.approx(2 * stopping_margin(curves(50, 1.0)))
    assert stopping_margin(curves(50, 1.0), wrong=0.5) == pytest.approx(0.0)
    assert stopping_margin(curves(50, 1.0)[::-1]) == pytest.approx(stopping_margin(curves(50, 1.0)))


@pytest.mark.parametrize("wrong", [0.0, -1.0, 0.7, float("nan")])
def test_refuses(wrong: float) -> None:
    with pytest.raises(UserError, match="wrong"):
        stopping_margin(curves(2, 1.0), wrong)
