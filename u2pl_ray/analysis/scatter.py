"""The scatter of a training's metric from epoch to epoch: what is known of noise from one seed."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import mean

from u2pl_ray.search.study.trial_record import TrialRecord

_LEAST = 4
"""Smallest number of epochs for a scatter."""


def scatter(record: TrialRecord) -> float | None:
    """Estimate the standard deviation of a trial's metric between epochs, see `scatter_of`."""
    return scatter_of([value for _, value in sorted(record.values.items())])


def scatter_of(values: Sequence[float]) -> float | None:
    """Estimate the standard deviation of values between epochs in their second half, without its trend.

    With d[i] = v[i+1] - v[i]: sqrt(mean((d[i] - mean(d))^2) / 2). None for fewer than four epochs.
    """
    half = values[len(values) // 2 :]
    if len(values) < _LEAST or len(half) < 3:
        return None
    steps = [after - before for before, after in pairwise(half)]
    return float((mean((step - mean(steps)) ** 2 for step in steps) / 2) ** 0.5)
