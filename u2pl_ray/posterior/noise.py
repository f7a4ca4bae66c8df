"""The noise: what of a run's luck its seed shares with others, which runs are outliers, which settings are noisier."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from u2pl_ray.posterior.level import Level, effects, solve, summarize
from u2pl_ray.posterior.prior import Hyper, covariance
from u2pl_ray.posterior.runs import Array, Table

_RHOS = np.array([0.02, 0.15, 0.35, 0.6, 0.85])
_RHO_PRIOR = np.log(np.array([0.25, 0.3, 0.25, 0.15, 0.05]))
_OUTLIER = 3.0
"""Runs further than this many standard deviations from their setting lose weight, the further the more."""
_OWN_NOISE = 4
"""Runs of a setting from which on its own noise is estimated, shrunk to the common one."""
_OWN_PRIOR = 8.0


def summaries(
    table: Table, weights: Sequence[Array], rhos: Array, only: NDArray[np.bool_] | None = None
) -> list[Level | None]:
    """Return each level's statistics; None for a level that no run has reached. `only`: [N] mask of runs."""
    levels: list[Level | None] = []
    for k, time in enumerate(table.times):
        there = ~np.isnan(table.values[:, k])
        weight = weights[k]
        if only is not None:
            weight = weight[only[there]]
            there &= only
        if not there.any():
            levels.append(None)
            continue
        before = table.values[there, k - 1] if k else None
        slope = float(np.sqrt(table.times[k - 1] / time)) if k else 0.0
        first = levels[0] if k else None
        expected = first.spread * (1 - slope**2) if first is not None else None
        levels.append(
            summarize(
                table.setting[there],
                table.seed[there],
                table.values[there, k],
                before,
                weight,
                slope,
                expected,
                rhos[k],
            )
        )
    return levels


def seed_shares(table: Table, weights: Sequence[Array], reference: int | None, choices: Sequence[Hyper]) -> Array:
    """Return [L] rho: the share of luck that a seed's runs have in common, by level; its posterior mean on a grid."""
    count, depth = len(table.settings), len(table.times)
    scores = np.full((len(_RHOS), depth), np.nan)
    for i, rho in enumerate(_RHOS):
        for k, level in enumerate(summaries(table, weights, np.full(depth, rho))):
            if level is None or level.design.shape[1] <= 1 + level.slopes:  # no seed has two settings
                continue
            found = [solve(level, covariance(h, count, None, reference), rho).evidence + h.log_prior for h in choices]
            scores[i, k] = np.logaddexp.reduce(found) + _RHO_PRIOR[i]
    known = ~np.isnan(scores[0])
    shares = np.full(depth, _RHOS[1])
    posterior = np.exp(scores[:, known] - scores[:, known].max(axis=0)) if known.any() else scores[:, known]
    shares[known] = _RHOS @ posterior / posterior.sum(axis=0)
    return shares


def run_weights(
    table: Table, levels: Sequence[Level | None], prior: Array, rhos: Array, weights: Sequence[Array]
) -> list[Array]:
    """Return each level's weights of runs from their distance to their setting: outliers, and settings' own noise."""
    found = []
    for k, level in enumerate(levels):
        if level is None:
            found.append(weights[k])
            continue
        there = ~np.isnan(table.values[:, k])
        setting, y = table.setting[there], table.values[there, k]
        solution = solve(level, prior, rhos[k])
        delta, left, _ = effects(level, solution, prior)
        columns = _columns(level, table.seed[there], setting, table.values[there, k - 1] if k else None)
        residual = y - columns @ solution.coefficients - delta[setting]
        square = (residual**2 / solution.variance + left[setting]) / (1 - rhos[k])
        count = np.bincount(setting, minlength=len(prior))
        # A single run's distance is its setting's as well as its luck's: only replicates tell.
        weight = np.where(count[setting] > 1, np.minimum(1.0, (_OUTLIER**2 / square) ** 2), 1.0)
        sums = np.bincount(setting, weight * square, len(prior))
        own = np.where(count >= _OWN_NOISE, (_OWN_PRIOR + sums) / (_OWN_PRIOR + count), 1.0)
        found.append(weight / own[setting])
    return found


def _columns(level: Level, seed: NDArray[np.intp], setting: NDArray[np.intp], before: Array | None) -> Array:
    """Return [n, q] the runs' design, as in `summarize`."""
    columns = [np.ones(len(seed))]
    if before is not None:
        columns.append(before - level.center)
    columns += [(seed == one).astype(float) for one in np.unique(seed) if len(np.unique(setting[seed == one])) > 1]
    return np.stack(columns, 1)


def seed_correlations(
    table: Table, levels: Sequence[Level | None], hyper: Hyper, reference: int | None, rhos: Array
) -> dict[float, float]:
    """Return the correlation of two settings' luck on one seed, by progress, where seeds are shared."""
    prior = covariance(hyper, len(table.settings), None, reference)
    common = luck = 0.0
    found = {}
    for time, level, rho in zip(table.times, levels, rhos, strict=True):
        if level is None:
            break
        solution = solve(level, prior, rho)
        factor = float(solution.coefficients[1]) if level.slopes else 0.0
        common = factor**2 * common + rho * solution.variance
        luck = factor**2 * luck + solution.variance
        if level.design.shape[1] > 1 + level.slopes:
            found[float(time)] = common / luck
    return found
