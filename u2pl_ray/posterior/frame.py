"""What stays the same of a progress level while weights and hyperparameters change: its runs and their design."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from u2pl_ray.posterior.runs import Array, Table


@dataclass(frozen=True)
class Frame:
    """Hold the runs of one level, sorted by setting. n runs of s settings; see level.py for the model.

    Args:
        there: [N] mask of the table's runs that are in it.
        setting: [n] index of each run's setting, ascending.
        y: [n] values.
        columns: [n, q] ones, `y_before - center` if any, and a column for each seed that has two settings.
        alone: [n] whether the run's seed has no other setting.
        seen: [s] the settings.
        starts: [s] each setting's first run.
        row: [n] place of each run's setting in `seen`.
        slope: prior mean of the coefficient of `y_before`.
        slopes: 1 where there is `y_before`, else 0.
        center: median of `y_before`.
        spread: robust variance of y given `y_before`, the scale of the priors.
    """

    there: NDArray[np.bool_]
    setting: NDArray[np.intp]
    y: Array
    columns: Array
    alone: NDArray[np.bool_]
    seen: NDArray[np.intp]
    starts: NDArray[np.intp]
    row: NDArray[np.intp]
    slope: float
    slopes: int
    center: float
    spread: float


def frames(table: Table, only: NDArray[np.bool_] | None = None) -> list[Frame | None]:
    """Return each level's frame; None for a level that no run has reached. `only`: [N] mask of runs."""
    found: list[Frame | None] = []
    for k, time in enumerate(table.times):
        there = ~np.isnan(table.values[:, k])
        if only is not None:
            there &= only
        if not there.any():
            found.append(None)
            continue
        slope = float(np.sqrt(table.times[k - 1] / time)) if k else 0.0
        first = found[0] if k else None
        expected = first.spread * (1 - slope**2) if first is not None else None
        before = table.values[there, k - 1] if k else None
        found.append(
            frame(there, table.setting[there], table.seed[there], table.values[there, k], before, slope, expected)
        )
    return found


def frame(
    there: NDArray[np.bool_],
    setting: NDArray[np.intp],
    seed: NDArray[np.intp],
    y: Array,
    before: Array | None,
    slope: float,
    expected: float | None = None,
) -> Frame:
    """Return the frame of one level.

    Args:
        there: [N] mask of the table's runs.
        setting: [n] index of each run's setting, ascending.
        seed: [n] seeds.
        y: [n] values at this level.
        before: [n] values one level earlier, or None at the first.
        slope: prior mean of b.
        expected: variance to expect of y given `before`; it counts as 4 values.
    """
    columns, center, residual = [np.ones((len(y), 1))], 0.0, y
    if before is not None:
        center = float(np.median(before))
        columns.append((before - center)[:, None])
        residual = y - slope * (before - center)
    seen, starts, row = np.unique(setting, return_index=True, return_inverse=True)
    seeds, which = np.unique(seed, return_inverse=True)
    pairs = np.unique(which * (len(seen) + 1) + row) // (len(seen) + 1)  # each seed once a setting
    shared = np.bincount(pairs, minlength=len(seeds)) > 1
    columns.append((which[:, None] == np.flatnonzero(shared)).astype(float))
    quartiles = np.quantile(residual, [0.25, 0.75]) if len(y) > 3 else np.array([0.0, 0.0])
    spread = float((quartiles[1] - quartiles[0]) / 1.349) ** 2 or float(np.var(residual))
    if expected is not None:
        spread = (len(y) * spread + 4 * expected) / (len(y) + 4)
    return Frame(
        there=there,
        setting=setting,
        y=y,
        columns=np.hstack(columns),
        alone=~shared[which],
        seen=seen,
        starts=starts,
        row=row,
        slope=slope,
        slopes=int(before is not None),
        center=center,
        spread=max(spread, 1e-12),
    )
