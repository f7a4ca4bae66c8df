"""One progress level: a linear model of settings, seeds and luck, solved on each setting's mean.

At level k a run of setting x on seed s has the value

    y = a + b (y_before - c) + delta(x) + u(s) + noise,
    delta ~ N(0, v Sigma),   u ~ N(0, v rho),   noise ~ N(0, v (1 - rho) / p)

where `y_before` is the same run's value one level earlier (absent at the first), v the variance of a run's luck at this
level, rho the part of it that all runs on a seed share, and p a run's weight (1 but for outliers). Runs of a setting
enter by their weighted mean and the sums of squares around it, so the cost grows with settings, not with runs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky

from u2pl_ray.posterior.runs import Array

_PSEUDO = 3.0
"""Observations that the prior of v counts as."""
_SLOPE_SD = 0.3
"""Prior standard deviation of the slope b around what the time kernel predicts."""


@dataclass(frozen=True)
class Level:
    """Hold the sufficient statistics of one level. n runs of s settings, q columns (a, b if any, one a shared seed)."""

    seen: NDArray[np.intp]
    """[s] indices of the settings with a run here."""
    weight: Array
    mean: Array
    design: Array
    within_yy: float
    within_yh: Array
    within_hh: Array
    runs: int
    slopes: int
    prior_slope: float
    spread: float
    """Robust variance of y given y_before, the scale of the priors."""
    center: float
    """The c of the model."""
    log_weight: float


def summarize(
    setting: NDArray[np.intp],
    seed: NDArray[np.intp],
    y: Array,
    before: Array | None,
    weight: Array,
    slope: float,
    expected: float | None = None,
    rho: float = 0.0,
) -> Level:
    """Return the sufficient statistics of one level.

    Args:
        setting: [n] index of each run's setting.
        seed: [n] seeds.
        y: [n] values at this level.
        before: [n] values one level earlier, or None at the first.
        weight: [n] weights p.
        slope: prior mean of b.
        expected: variance to expect of y given `before`; it counts as 4 values.
        rho: the seeds' share of luck; where a seed has one setting alone, it is part of that run's own noise.
    """
    columns = [np.ones(len(y))]
    center = 0.0
    residual = y
    if before is not None:
        center = float(np.median(before))
        columns.append(before - center)
        residual = y - slope * (before - center)
    for one in np.unique(seed):
        on = seed == one
        if len(np.unique(setting[on])) > 1:
            columns.append(on.astype(float))
        else:
            weight = np.where(on, (1 - rho) / (rho + (1 - rho) / weight), weight)
    h = np.stack(columns, 1)
    seen, row = np.unique(setting, return_inverse=True)
    total = np.bincount(row, weight)
    mean = np.bincount(row, weight * y) / total
    design = np.stack([np.bincount(row, weight * column) / total for column in columns], 1)
    dy, dh = y - mean[row], h - design[row]
    quartiles = np.quantile(residual, [0.25, 0.75]) if len(y) > 3 else np.array([0.0, 0.0])
    spread = float((quartiles[1] - quartiles[0]) / 1.349) ** 2 or float(np.var(residual))
    if expected is not None:
        spread = (len(y) * spread + 4 * expected) / (len(y) + 4)
    spread = max(spread, 1e-12)
    return Level(
        seen=seen,
        weight=np.asarray(total, float),
        mean=mean,
        design=design,
        within_yy=float(weight @ dy**2),
        within_yh=dh.T @ (weight * dy),
        within_hh=dh.T @ (weight[:, None] * dh),
        runs=len(y),
        slopes=int(before is not None),
        prior_slope=slope,
        spread=spread,
        center=center,
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
    own = 1 - rho
    noise = own / level.weight
    right = np.column_stack([level.mean, level.design])
    if prior.ndim == 1:
        factor = prior[level.seen] + noise
        solved = right / factor[:, None]
        log_det = float(np.log(factor).sum())
    else:
        matrix = prior[np.ix_(level.seen, level.seen)]
        matrix[np.diag_indices_from(matrix)] += noise
        factor = cholesky(matrix, lower=True, check_finite=False)
        solved = cho_solve((factor, True), right, check_finite=False)
        log_det = 2 * float(np.log(np.diag(factor)).sum())
    q = level.design.shape[1]
    precision = np.full(q, 1 / rho)
    precision[0] = 0.0
    expected = np.zeros(q)
    if level.slopes:
        precision[1] = level.spread / _SLOPE_SD**2
        expected[1] = level.prior_slope
    a = level.design.T @ solved[:, 1:] + level.within_hh / own + np.diag(precision)
    u = level.design.T @ solved[:, 0] + level.within_yh / own + precision * expected
    inverse = np.linalg.inv(a)
    coefficients = inverse @ u
    square = level.mean @ solved[:, 0] + level.within_yy / own + precision @ expected**2 - u @ coefficients
    count = level.runs - 1
    scale = level.spread / (1 + float(np.mean(prior[level.seen] if prior.ndim == 1 else np.diag(prior)[level.seen])))
    variance = (max(float(square), 0.0) + _PSEUDO * scale) / (count + _PSEUDO)
    log_det += (level.runs - len(level.seen)) * np.log(own) + (q - 1 - level.slopes) * np.log(rho)
    log_det += float(np.linalg.slogdet(a)[1]) - level.log_weight
    # The prior of v is inverse gamma with mean `scale`, which depends on the settings' prior: its constant counts.
    evidence = -0.5 * (count + _PSEUDO) * np.log(variance) - 0.5 * log_det + 0.5 * _PSEUDO * np.log(scale)
    whitened = solved[:, 0] - solved[:, 1:] @ coefficients
    return Solution(
        float(evidence), variance, coefficients, np.asarray(inverse, float), whitened, factor, solved[:, 1:]
    )


def effects(level: Level, solution: Solution, prior: Array) -> tuple[Array, Array, Array]:
    """Return the settings' effects at this level.

    Returns:
        mean [S] of delta; its covariance over v given the coefficients, [S, S] or the diagonal [S]; and [S, q] the
        derivative of delta's mean by the coefficients.
    """
    if prior.ndim == 1:
        gain = np.zeros(len(prior))
        gain[level.seen] = prior[level.seen]
        mean = np.zeros(len(prior))
        mean[level.seen] = prior[level.seen] * solution.whitened
        slope = np.zeros((len(prior), level.design.shape[1]))
        slope[level.seen] = -prior[level.seen, None] * solution.solved_design
        left = prior.copy()
        left[level.seen] -= prior[level.seen] ** 2 / solution.factor
        return mean, left, slope
    cross = prior[:, level.seen]
    half = cho_solve((solution.factor, True), cross.T, check_finite=False)
    return cross @ solution.whitened, prior - cross @ half, -cross @ solution.solved_design
