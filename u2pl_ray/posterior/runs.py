"""Trainings as the posterior sees them: values by progress, put on a few common progress levels."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from u2pl_ray.config.errors import UserError

Array = NDArray[np.float64]
_MOST_LEVELS = 4
_SAME = 0.03
"""Two progress values within 3 % of each other count as one level."""
_BAD_TAIL = 3.0
"""Values further below the median than this many times the spread of the better half are pulled up to there."""


@dataclass(frozen=True)
class Run:
    """Hold one training, complete or stopped.

    Args:
        setting: names the setting; runs of one setting are replicates of each other.
        seed: the seed of all its random draws; runs of several settings on one seed are compared in pairs.
        values: the watched metric by progress in (0, 1], 1 at full length (see `progress`).
    """

    setting: str
    seed: int
    values: Mapping[float, float]


def progress(epoch: int, epochs: int, warmup: int = 0) -> float:
    """Return the share of the epochs after the warm-up that is done after `epoch` epochs (counted from 1).

    Until the warm-up ends all settings are one and the same training, so it counts as a quarter of an epoch.
    """
    if not 1 <= epoch <= epochs:
        raise UserError(f"epoch {epoch} is not within 1 .. {epochs}: give epoch and length of one training")
    return max(epoch - warmup, 0.25) / max(epochs - warmup, 1)


@dataclass(frozen=True)
class Table:
    """Hold the runs as arrays, sorted by setting and seed. N runs, S settings, L progress levels.

    Args:
        settings: [S] names, in the order of `setting`.
        setting: [N] index of each run's setting.
        seed: [N] seeds.
        times: [L] progress of each level, ascending; the last is 1.
        values: [N, L] values, larger is better; NaN from where a run was stopped.
        epoch_variance: variance of a value from one epoch to the next around a run's own trend.
    """

    settings: list[str]
    setting: NDArray[np.intp]
    seed: NDArray[np.intp]
    times: Array
    values: Array
    epoch_variance: float


def tabulate(runs: Sequence[Run], settings: Sequence[str], maximize: bool = True) -> Table:
    """Return the runs on common progress levels.

    Levels are 1 and the lengths at which most runs ended. A run's value at a level is its last one there. A level
    that a run has no value for although it went on later is filled with what its next value predicts.

    Args:
        runs: at least one.
        settings: names of all settings of interest, with or without runs; those of `runs` that are missing are added.
        maximize: whether a larger value is better.

    Raises:
        UserError: no runs, a run without values, or progress outside (0, 1].
    """
    if not runs:
        raise UserError("there are no runs to learn from: train at least one setting")
    for run in runs:
        if not run.values or not all(0 < share <= 1 for share in run.values):
            raise UserError(f"a run of setting {run.setting!r} has no values, or progress outside (0, 1]")
    names = list(dict.fromkeys([*settings, *(run.setting for run in runs)]))
    index = {name: i for i, name in enumerate(names)}
    runs = sorted(runs, key=lambda run: (index[run.setting], run.seed))
    times = _levels(runs)
    counts, shares, series = _flat(runs)
    owner = np.repeat(np.arange(len(runs)), counts)
    if not maximize:
        series = -series
    values = np.full((len(runs), len(times)), np.nan)
    for k, time in enumerate(times):
        near = np.flatnonzero(np.abs(shares - time) <= _SAME * time + 1e-9)
        near = near[np.argsort(-np.abs(shares[near] - time), kind="stable")]
        values[owner[near], k] = series[near]  # of several the nearest, which comes last
    setting = np.array([index[run.setting] for run in runs])
    _fill(values, times)
    for k in range(len(times)):
        _pull_up_bad_tail(values[:, k], setting)
    seeds = np.array([run.seed for run in runs])
    return Table(names, setting, seeds, times, values, epoch_variance(runs))


def _levels(runs: Sequence[Run]) -> Array:
    """Return at most 4 ascending progress levels: 1, and where at least 3 % of the runs ended, the commonest first.

    Some run has a value at one of them: where no run would, the median end is a level.
    """
    ends = Counter(round(max(run.values), 6) for run in runs)
    least = 0.03 * len(runs)
    chosen = [1.0]
    for time, count in ends.most_common():
        if count >= least and all(abs(time - other) > _SAME * other for other in chosen):
            chosen.append(time)
    if len(chosen) == 1 and 1 - max(ends) > _SAME + 1e-9:  # no end is common, and nobody has reached the last level
        chosen.append(sorted(ends.elements())[len(runs) // 2])
    return np.array(sorted(chosen[:_MOST_LEVELS]))


def _fill(values: Array, times: Array) -> None:
    """Fill gaps before a later value by that value's prediction, in place."""
    for k in range(len(times) - 2, -1, -1):
        gap = np.isnan(values[:, k]) & ~np.isnan(values[:, k + 1])
        if gap.any():
            later = values[gap, k + 1]
            here = values[:, k][~np.isnan(values[:, k])]
            center = np.median(here) if len(here) else np.median(later)
            slope = np.sqrt(times[k] / times[k + 1])
            values[gap, k] = center + slope * (later - np.nanmedian(values[:, k + 1]))


def _pull_up_bad_tail(column: Array, setting: NDArray[np.intp]) -> None:
    """Limit in place how bad a setting's only value counts: settings that fail say nothing about the leaders' spread.

    Runs of a setting with several stay as they are, so that a collapsed one stands out from the others.
    """
    known = ~np.isnan(column)
    if known.sum() < 8:
        return
    firsts = column[known][np.unique(setting[known], return_index=True)[1]]  # one value a setting
    if len(firsts) < 8:
        return
    middle, upper = np.quantile(firsts, [0.5, 0.84])
    if upper > middle:
        alone = known & (np.bincount(setting[known], minlength=setting.max() + 1)[setting] == 1)
        np.maximum(column, middle - _BAD_TAIL * (upper - middle), out=column, where=alone)


def epoch_variance(runs: Sequence[Run], last: int = 6) -> float:
    """Return the median over runs of the variance of the last values around a straight line; 0 if none has enough.

    Args:
        runs: at least one.
        last: how many of a run's values are used.
    """
    counts, shares, series = _flat(runs)
    enough = counts >= last
    if not enough.any():
        return 0.0
    order = np.lexsort((shares, np.repeat(np.arange(len(counts)), counts)))
    at = np.cumsum(counts)[enough, None] - last + np.arange(last)
    x, y = shares[order][at], series[order][at]
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    line = (x * y).sum(1, keepdims=True) / (x * x).sum(1, keepdims=True)
    return float(np.median(((y - line * x) ** 2).sum(1)) / (last - 2))


def _flat(runs: Sequence[Run]) -> tuple[NDArray[np.intp], Array, Array]:
    """Return the number of values of each run, and all progress and values, run after run."""
    counts = np.array([len(run.values) for run in runs])
    shares = np.concatenate([np.fromiter(run.values, float, len(run.values)) for run in runs])
    series = np.concatenate([np.fromiter(run.values.values(), float, len(run.values)) for run in runs])
    return counts, shares, series
