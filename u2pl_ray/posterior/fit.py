"""The posterior of every setting's true worth, from all runs at once.

A training's luck and a setting's effect both move with progress t as Markov processes, so a run's value at one level
says all that its earlier values say about later ones, and the levels are independent given the one before (level.py).
The worth at full length is put together level by level:

    worth_1 = a_1 + delta_1,    worth_k = a_k + b_k (worth_{k-1} - c_k) + delta_k

Slopes b start from the kernel corr(t, t') = sqrt(t / t') and are learned. What is not known about the size and the
smoothness of the settings' effects is averaged over (a grid, weighted by marginal likelihood).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from u2pl_ray.config.errors import UserError
from u2pl_ray.posterior.frame import frames
from u2pl_ray.posterior.level import Level, Solution, effects, evidences, solve
from u2pl_ray.posterior.noise import run_weights, seed_correlations, seed_shares, summaries
from u2pl_ray.posterior.prior import Hyper, covariance, grid, log_priors
from u2pl_ray.posterior.runs import Array, Run, Table, tabulate

_ROUNDS = 4
"""Times that weights and posterior are computed in turn."""
_SUBSET = 150
"""Settings from which the smoothness is learned where there are more; all take part in the posterior."""
_COMPONENTS = 6
_NEGLIGIBLE = 0.02


@dataclass(frozen=True)
class Component:
    """Hold the posterior under one choice of hyperparameters: mean [S], covariance [S, S], variances."""

    weight: float
    hyper: Hyper
    mean: Array
    covariance: Array
    seed_variance: float
    setting_variance: float


@dataclass(frozen=True)
class Posterior:
    """Hold what is known of the settings' true worth: their mean over seeds at full length. Larger is better here.

    Args:
        settings: [S] names.
        reference: index of the reference setting (the paper's), None if it is not among them.
        components: the mixture; weights sum to 1.
        mean: [S] posterior mean, in the metric's units, negated where the metric is minimized.
        covariance: [S, S].
        complete: [S] number of runs of each setting that reached full length.
        degrees: degrees of freedom behind the estimate of the luck's variance.
        epoch_variance: part of a single value's variance that is one epoch's.
        correlations: correlation of two settings' values on one seed, by progress; only where seeds are shared.
        maximize: whether the metric is maximized.
        table: the runs.
    """

    settings: list[str]
    reference: int | None
    components: list[Component]
    mean: Array
    covariance: Array
    complete: Array
    degrees: float
    epoch_variance: float
    correlations: dict[float, float]
    maximize: bool
    table: Table

    @property
    def sd(self) -> Array:
        """[S] posterior standard deviations."""
        return np.sqrt(np.maximum(np.diag(self.covariance), 0.0))

    @property
    def seed_sd(self) -> float:
        """Standard deviation over seeds of one full training of one setting."""
        return float(np.sqrt(sum(c.weight * c.seed_variance for c in self.components)))

    @property
    def snr(self) -> float:
        """Standard deviation of the settings' worth over the seeds'."""
        return float(np.exp(sum(c.weight * np.log(c.hyper.snr) for c in self.components)))

    def worth(self) -> Array:
        """[S] posterior mean in the metric's own direction."""
        return self.mean if self.maximize else -self.mean


def fit(
    runs: Sequence[Run],
    reference: str | None = None,
    points: Mapping[str, Sequence[float]] | None = None,
    maximize: bool = True,
) -> Posterior:
    """Return the posterior from all runs, complete and stopped.

    Args:
        runs: all runs of the study, of its replicates and confirmations.
        reference: name of the setting that others must beat (the paper's).
        points: settings' places in the unit cube (see `encode`), for a posterior that is smooth over the parameters;
            must cover every setting with a run. Settings without a run are predicted. None: settings are independent.
        maximize: whether a larger value is better.

    Raises:
        UserError: no runs, or points that do not cover the settings.
    """
    table = tabulate(runs, [*([reference] if reference is not None else []), *(points or {})], maximize)
    at = _points(table.settings, points)
    index = None if reference is None else table.settings.index(reference)
    count = len(table.settings)
    framed = frames(table)
    weights = [np.ones(len(table.setting)) for _ in table.times]
    flat = grid(smooth=False)
    priors = [covariance(hyper, count, None, index) for hyper in flat]
    likely = log_priors(flat)
    rhos = seed_shares(framed, weights, priors, likely)
    levels = summaries(framed, weights, rhos)
    prior = priors[int(np.argmax(_evidence(levels, priors, rhos) + likely))]
    for _ in range(_ROUNDS):
        weights = run_weights(levels, prior, rhos, weights)
        levels = summaries(framed, weights, rhos)
    choices = grid(at is not None)
    evidence = _grid_evidence(table, weights, levels, at, index, rhos, choices)
    keep = np.argsort(-evidence, kind="stable")[:_COMPONENTS]
    keep = keep[evidence[keep] > evidence.max() + np.log(_NEGLIGIBLE)]
    if len(table.settings) > 300:
        keep = keep[:2]
    share = np.exp(evidence[keep] - evidence.max())
    share /= share.sum()
    kernels: dict[float, Array] = {}
    components = [
        _component(table.times, levels, choices[i], w, covariance(choices[i], count, at, index, kernels), rhos)
        for i, w in zip(keep, share, strict=True)
    ]
    mean = sum((c.weight * c.mean for c in components), np.zeros(len(table.settings)))
    spread = sum((c.weight * c.covariance for c in components), np.zeros((len(mean), len(mean))))
    for c in components:
        spread += c.weight * np.outer(c.mean - mean, c.mean - mean)
    complete = np.bincount(table.setting, ~np.isnan(table.values[:, -1]), len(mean))
    degrees = max(3.0, float(np.maximum(complete - 1, 0).sum()) + 2)
    correlations = seed_correlations(table.times, levels, prior, rhos)
    return Posterior(
        table.settings,
        index,
        components,
        mean,
        spread,
        complete.astype(float),
        degrees,
        table.epoch_variance,
        correlations,
        maximize,
        table,
    )


def _points(settings: Sequence[str], points: Mapping[str, Sequence[float]] | None) -> Array | None:
    """Return [S, d] points in the settings' order."""
    if points is None:
        return None
    missing = [name for name in settings if name not in points]
    if missing:
        raise UserError(f"setting {missing[0]!r} has no point: give every setting's place in the unit cube, or none")
    at = np.array([points[name] for name in settings], float)
    if at.ndim != 2 or not np.isfinite(at).all():
        raise UserError("points must be finite and of one length: encode every setting by the same parameters")
    return at


def _evidence(levels: Sequence[Level | None], priors: Sequence[Array], rhos: Array) -> Array:
    """Return [G] log marginal likelihood under each prior, over all levels."""
    parts = [evidences(level, priors, rho) for level, rho in zip(levels, rhos, strict=True) if level is not None]
    return np.sum(parts, axis=0)


def _grid_evidence(
    table: Table,
    weights: Sequence[Array],
    levels: Sequence[Level | None],
    points: Array | None,
    reference: int | None,
    rhos: Array,
    choices: Sequence[Hyper],
) -> Array:
    """Return [G] log posterior of each choice, flat ones first, from a subset of the settings where there are many."""
    tried = np.unique(table.setting)
    if points is None:
        tried = np.arange(len(table.settings))
    elif len(tried) > _SUBSET:
        runs = np.bincount(table.setting, minlength=len(table.settings))
        order = tried[np.argsort(-runs[tried], kind="stable")]
        chosen = np.unique(np.linspace(0, len(order) - 1, _SUBSET // 2).astype(int))
        tried = np.unique(np.concatenate([order[: _SUBSET // 2], order[chosen]]))
        levels = summaries(frames(table, np.isin(table.setting, tried)), weights, rhos)
    place = np.full(len(table.settings), -1)
    place[tried] = np.arange(len(tried))
    small = [replace(level, seen=place[level.seen]) if level is not None else None for level in levels]
    at = int(place[reference]) if reference is not None and place[reference] >= 0 else None
    kernels: dict[float, Array] = {}
    where = points[tried] if points is not None else None
    priors = [covariance(hyper, len(tried), where, at, kernels) for hyper in choices]
    flat = [prior for prior in priors if prior.ndim == 1]
    found = [_evidence(small, group, rhos) for group in (flat, priors[len(flat) :]) if group]
    return np.concatenate(found) + log_priors(choices)


def _component(
    times: Array, levels: Sequence[Level | None], hyper: Hyper, weight: float, prior: Array, rhos: Array
) -> Component:
    """Return the posterior at full length under one choice of hyperparameters, whose settings' prior is `prior`."""
    mean, spread = np.zeros(len(prior)), np.zeros((len(prior),) * 2)
    luck = 0.0
    for k, (level, rho) in enumerate(zip(levels, rhos, strict=True)):
        if level is None:  # nobody got here: the time kernel alone
            slope = float(np.sqrt(times[k - 1] / times[k]))
            more = (1 - slope**2) * luck
            center = float(mean.mean())
            mean, spread = center + slope * (mean - center), slope**2 * spread
            spread += more * (np.diag(prior) if prior.ndim == 1 else prior)
            continue
        solution = solve(level, prior, rho)
        mean, spread, luck = _step(level, solution, prior, mean, spread, luck)
    return Component(float(weight), hyper, mean, spread, luck, hyper.snr**2 * luck)


def _step(
    level: Level, solution: Solution, prior: Array, mean: Array, spread: Array, luck: float
) -> tuple[Array, Array, float]:
    """Return the worth's mean, covariance and the luck's variance at a level from those one level earlier."""
    delta, left, slope = effects(level, solution, prior)
    slope[:, 0] += 1.0
    worth = solution.coefficients[0] + delta
    factor = 0.0
    if level.frame.slopes:
        factor = float(solution.coefficients[1])
        worth = worth + factor * (mean - level.frame.center)
        slope[:, 1] += mean - level.frame.center
    new = factor**2 * spread + solution.variance * (slope @ solution.inverse @ slope.T)
    if left.ndim == 1:
        new[np.diag_indices_from(new)] += solution.variance * left
    else:
        new += solution.variance * left
    return worth, new, factor**2 * luck + solution.variance
