"""The noise: what of a run's luck its seed shares with others, which runs are outliers, which settings are noisier."""

from collections.abc import Sequence

import numpy as np

from u2pl_ray.posterior.frame import Frame
from u2pl_ray.posterior.level import Level, effects, evidences, solve, summarize
from u2pl_ray.posterior.runs import Array

_RHOS = np.array([0.02, 0.15, 0.35, 0.6, 0.85])
_RHO_PRIOR = np.log(np.array([0.25, 0.3, 0.25, 0.15, 0.05]))
_OUTLIER = 3.0
"""Runs further than this many standard deviations from their setting lose weight, the further the more."""
_OWN_NOISE = 4
"""Runs of a setting from which on its own noise is estimated, shrunk to the common one."""
_OWN_PRIOR = 8.0


def summaries(framed: Sequence[Frame | None], weights: Sequence[Array], rhos: Array) -> list[Level | None]:
    """Return each level's statistics; None for a level that no run has reached.

    Args:
        framed: [L] the levels' runs.
        weights: [L] arrays [N]: each run's weight at each level.
        rhos: [L] the seeds' share of luck.
    """
    return [
        summarize(frame, weight[frame.there], rho) if frame is not None else None
        for frame, weight, rho in zip(framed, weights, rhos, strict=True)
    ]


def seed_shares(
    framed: Sequence[Frame | None], weights: Sequence[Array], priors: Sequence[Array], log_priors: Array
) -> Array:
    """Return [L] rho: the share of luck that a seed's runs have in common, by level; its posterior mean on a grid.

    Args:
        framed: [L] the levels' runs.
        weights: [L] arrays [N]: each run's weight at each level.
        priors: [G] settings' priors to average over.
        log_priors: [G] how likely each is beforehand.
    """
    scores = np.full((len(_RHOS), len(framed)), np.nan)
    for i, rho in enumerate(_RHOS):
        for k, level in enumerate(summaries(framed, weights, np.full(len(framed), rho))):
            if level is not None and level.pairs:
                scores[i, k] = np.logaddexp.reduce(evidences(level, priors, rho) + log_priors) + _RHO_PRIOR[i]
    known = ~np.isnan(scores[0])
    shares = np.full(len(framed), _RHOS[1])
    posterior = np.exp(scores[:, known] - scores[:, known].max(axis=0)) if known.any() else scores[:, known]
    shares[known] = _RHOS @ posterior / posterior.sum(axis=0)
    return shares


def run_weights(levels: Sequence[Level | None], prior: Array, rhos: Array, weights: Sequence[Array]) -> list[Array]:
    """Return each level's weights of runs from their distance to their setting: outliers, and settings' own noise.

    Args:
        levels: [L] statistics under the present weights.
        prior: [S] settings' prior, independent.
        rhos: [L] the seeds' share of luck.
        weights: [L] arrays [N]: the present weights.
    """
    found = []
    for level, weight, rho in zip(levels, weights, rhos, strict=True):
        if level is None:
            found.append(weight)
            continue
        frame, setting = level.frame, level.frame.setting
        solution = solve(level, prior, rho)
        delta, left, _ = effects(level, solution, prior)
        residual = frame.y - frame.columns @ solution.coefficients - delta[setting]
        square = (residual**2 / solution.variance + left[setting]) / (1 - rho)
        count = np.bincount(setting, minlength=len(prior))
        # A single run's distance is its setting's as well as its luck's: only replicates tell.
        new = np.where(count[setting] > 1, np.minimum(1.0, (_OUTLIER**2 / square) ** 2), 1.0)
        sums = np.bincount(setting, new * square, len(prior))
        own = np.where(count >= _OWN_NOISE, (_OWN_PRIOR + sums) / (_OWN_PRIOR + count), 1.0)
        weight = weight.copy()
        weight[frame.there] = new / own[setting]
        found.append(weight)
    return found


def seed_correlations(times: Array, levels: Sequence[Level | None], prior: Array, rhos: Array) -> dict[float, float]:
    """Return the correlation of two settings' luck on one seed, by progress, where seeds are shared.

    Args:
        times: [L] progress of the levels.
        levels: [L] statistics.
        prior: [S] settings' prior, independent.
        rhos: [L] the seeds' share of luck.
    """
    common = luck = 0.0
    found = {}
    for time, level, rho in zip(times, levels, rhos, strict=True):
        if level is None:
            break
        solution = solve(level, prior, rho)
        factor = float(solution.coefficients[1]) if level.frame.slopes else 0.0
        common = factor**2 * common + rho * solution.variance
        luck = factor**2 * luck + solution.variance
        if level.pairs:
            found[float(time)] = float(common / luck)
    return found
