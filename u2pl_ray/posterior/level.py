"""One progress level: a linear model of settings, seeds and luck, solved on each setting's mean.

At level k a run of setting x on seed s has the value

    y = a + b (y_before - c) + delta(x) + u(s) + noise,
    delta ~ N(0, v Sigma),   u ~ N(0, v rho),   noise ~ N(0, v (1 - rho) / p)

where `y_before` is the same run's value one level earlier (absent at the first), v the variance of a run's luck at this
level, rho the part of it that all runs on a seed share, and p a run's weight (1 but for outliers). Runs of a setting
enter by their weighted mean and the sums of squares around it, so the cost grows with settings, not with runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from u2pl_ray.posterior.frame import Frame
from u2pl_ray.posterior.runs import Array

_PSEUDO = 3.0
"""Observations that the prior of v counts as."""
_SLOPE_SD = 0.3
"""Prior standard deviation of the slope b around what the time kernel predicts."""


@dataclass(frozen=True)
class Level:
    """Hold the sufficient statistics of one level. n runs of s settings, q columns (a, b if any, one a shared seed)."""

    frame: Frame
    seen: NDArray[np.intp]
    """[s] indices of the settings with a run here."""
    weight: Array
    mean: Array
    design: Array
    within_yy: float
    within_yh: Array
    within_hh: Array
    log_weight: float

    @property
    def columns(self) -> int:
        """Number of columns q."""
        return self.design.shape[1]

    @property
    def pairs(self) -> bool:
        """Tell whether any seed has two settings."""
        return self.columns > 1 + self.frame.slopes


def summarize(frame: Frame, weight: Array, rho: float = 0.0) -> Level:
    """Return the sufficient statistics of one level.

    Args:
        frame: the level's runs.
        weight: [n] weights p.
        rho: the seeds' share of luck; where a seed has one setting alone, it is part of that run's own noise.
    """
    weight = np.where(frame.alone, (1 - rho) / (rho + (1 - rho) / weight), weight)
    both = np.column_stack([frame.y, frame.columns])
    total = np.add.reduceat(weight, frame.starts)
    means = np.add.reduceat(weight[:, None] * both, frame.starts, axis=0) / total[:, None]
    around = both - means[frame.row]
    within = around.T @ (weight[:, None] * around)
    return Level(
        frame=frame,
        seen=frame.seen,
        weight=total,
        mean=means[:, 0],
        design=means[:, 1:],
        within_yy=float(within[0, 0]),
        within_yh=within[1:, 0],
        within_hh=within[1:, 1:],
        log_weight=float(np.log(weight).sum() - np.log(total).sum()),
    )


@dataclass(frozen=True)
class Solution:
    """Hold a solved level: marginal likelihood, v, coefficients, and the settings' effects in units of v."""

    evidence: float
    variance: float
    coefficients: Array
    """[q] a, b if any, seeds."""
    inverse: Array
    """[q, q] covariance of the coefficients over v."""
    whitened: Array
    """[s] M^-1 (mean - design coefficients), M the covariance of the settings' means over v."""
    factor: Array
    """M: its diagonal [s] for independent settings, else its Cholesky factor [s, s]."""
    solved_design: Array
    """[s, q] M^-1 design."""


def solve(level: Level, prior: Array, rho: float) -> Solution:
    """Return the level's solution for given settings' prior and seed share.

    Args:
        level: its statistics.
        prior: Sigma over v of all settings: [S, S], or its diagonal [S] where settings are independent.
        rho: the share of luck that runs on a seed have in common, in (0, 1).
    """
    factor, solved, log_det = _condition(level, prior, rho)
    evidence, variance, coefficients, inverse = _regress(level, solved[None], log_det, _typical(level, prior), rho)
    whitened = solved[:, 0] - solved[:, 1:] @ coefficients[0]
    return Solution(
        float(evidence[0]), float(variance[0]), coefficients[0], inverse[0], whitened, factor, solved[:, 1:]
    )


def evidences(level: Level, priors: Sequence[Array], rho: float) -> Array:
    """Return [G] the log marginal likelihood under each of G priors, all diagonal [S] or all [S, S]. See `solve`."""
    if priors[0].ndim == 1:
        factor = np.stack(priors)[:, level.seen] + (1 - rho) / level.weight
        solved = np.column_stack([level.mean, level.design]) / factor[:, :, None]
        log_det = np.log(factor).sum(1)
    else:
        found = [_condition(level, prior, rho) for prior in priors]
        solved, log_det = np.stack([f[1] for f in found]), np.array([f[2] for f in found])
    return _regress(level, solved, log_det, np.array([_typical(level, prior) for prior in priors]), rho)[0]


def _typical(level: Level, prior: Array) -> float:
    """Return the mean prior variance over v of the settings seen."""
    return float((prior[level.seen] if prior.ndim == 1 else prior[level.seen, level.seen]).sum()) / len(level.seen)


def _condition(level: Level, prior: Array, rho: float) -> tuple[Array, Array, float]:
    """Return M or its factor, M^-1 [mean, design], and log det M, for M = Sigma + noise of the settings' means."""
    noise = (1 - rho) / level.weight
    right = np.column_stack([level.mean, level.design])
    if prior.ndim == 1:
        factor = prior[level.seen] + noise
        return factor, right / factor[:, None], float(np.log(factor).sum())
    matrix = prior[level.seen[:, None], level.seen]
    matrix[np.diag_indices_from(matrix)] += noise
    factor, info = lapack.dpotrf(matrix.T, lower=1, overwrite_a=1)
    if info:
        raise np.linalg.LinAlgError("the settings' covariance is not positive definite")
    solved, _ = lapack.dpotrs(factor, right, lower=1)
    return factor, solved, 2 * float(np.log(np.diag(factor)).sum())


def _regress(
    level: Level, solved: Array, log_det: Array | float, typical: Array | float, rho: float
) -> tuple[Array, Array, Array, Array]:
    """Return evidence [G], v [G], coefficients [G, q] and their covariance over v [G, q, q].

    Args:
        level: its statistics.
        solved: [G, s, 1 + q] M^-1 [mean, design] under each prior.
        log_det: [G] log det M.
        typical: [G] mean prior variance of a setting over v.
        rho: the seeds' share of luck.
    """
    own, q, frame = 1 - rho, level.columns, level.frame
    precision = np.full(q, 1 / rho)
    precision[0] = 0.0
    expected = np.zeros(q)
    if frame.slopes:
        precision[1] = frame.spread / _SLOPE_SD**2
        expected[1] = frame.slope
    a = level.design.T @ solved[:, :, 1:] + (level.within_hh / own + np.diag(precision))
    u = solved[:, :, 0] @ level.design + (level.within_yh / own + precision * expected)
    inverse = np.linalg.inv(a)
    coefficients = (inverse @ u[:, :, None])[:, :, 0]
    square = solved[:, :, 0] @ level.mean + level.within_yy / own + precision @ expected**2
    square -= (u * coefficients).sum(1)
    scale = frame.spread / (1 + typical)
    count = len(frame.y) - 1 + _PSEUDO
    variance = (np.maximum(square, 0.0) + _PSEUDO * scale) / count
    log_det = log_det + (len(frame.y) - len(level.seen)) * np.log(own) + (q - 1 - frame.slopes) * np.log(rho)
    log_det = log_det + np.linalg.slogdet(a)[1] - level.log_weight
    # The prior of v is inverse gamma with mean `scale`, which depends on the settings' prior: its constant counts.
    evidence = -0.5 * count * np.log(variance) - 0.5 * log_det + 0.5 * _PSEUDO * np.log(scale)
    return evidence, variance, coefficients, np.asarray(inverse, float)


def effects(level: Level, solution: Solution, prior: Array) -> tuple[Array, Array, Array]:
    """Return the settings' effects at this level.

    Args:
        level: its statistics.
        solution: what `solve` made of it.
        prior: the same prior.

    Returns:
        mean [S] of delta; its covariance over v given the coefficients, [S, S] or the diagonal [S]; and [S, q] the
        derivative of delta's mean by the coefficients.
    """
    if prior.ndim == 1:
        mean = np.zeros(len(prior))
        mean[level.seen] = prior[level.seen] * solution.whitened
        slope = np.zeros((len(prior), level.columns))
        slope[level.seen] = -prior[level.seen, None] * solution.solved_design
        left = prior.copy()
        left[level.seen] -= prior[level.seen] ** 2 / solution.factor
        return mean, left, slope
    cross = prior[:, level.seen]
    half, _ = lapack.dtrtrs(solution.factor, cross.T, lower=1)
    return cross @ solution.whitened, prior - half.T @ half, -cross @ solution.solved_design
