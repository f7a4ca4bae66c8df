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
from u2pl_ray.posterior.level import Level, Solution, effects, solve, summarize
from u2pl_ray.posterior.prior import Hyper, covariance, grid
from u2pl_ray.posterior.runs import Array, Run, Table, tabulate

_RHOS = np.array([0.02, 0.15, 0.35, 0.6, 0.85])
_RHO_PRIOR = np.log(np.array([0.25, 0.3, 0.25, 0.15, 0.05]))
_OUTLIER = 3.0
"""Runs further than this many standard deviations from their setting lose weight, the further the more."""
_ROUNDS = 4
"""Times that weights and posterior are computed in turn."""
_OWN_NOISE = 4
"""Runs of a setting from which on its own noise is estimated, shrunk to the common one."""
_OWN_PRIOR = 8.0
_SUBSET = 150
"""Settings from which the smoothness is learned where there are more; all take part in the posterior."""
_COMPONENTS = 6
_NEGLIGIBLE = 0.02


@dataclass(frozen=True)
class Component:
    """Hold the posterior under one choice of hyperparameters: mean [S], covariance [S, S], luck's variance, v by level."""

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
        rho: [L] share of luck common to a seed, by level.
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
    weights = [np.ones(int((~np.isnan(table.values[:, k])).sum())) for k in range(len(table.times))]
    flat = grid(smooth=False)
    rhos = _seed_shares(table, weights, index, flat)
    best = _evidence(_summaries(table, weights, rhos), len(table.settings), None, index, rhos, flat)
    hyper = flat[int(np.argmax(best))]
    for _ in range(_ROUNDS):
        prior = covariance(hyper, len(table.settings), None, index)
        weights = _weights(table, _summaries(table, weights, rhos), prior, rhos, weights)
    levels = _summaries(table, weights, rhos)
    choices = grid(at is not None)
    evidence = _grid_evidence(table, weights, levels, at, index, rhos, choices)
    keep = np.argsort(-evidence, kind="stable")[:_COMPONENTS]
    keep = keep[evidence[keep] > evidence.max() + np.log(_NEGLIGIBLE)]
    if len(table.settings) > 300:
        keep = keep[:2]
    share = np.exp(evidence[keep] - evidence.max())
    share /= share.sum()
    components = [
        _component(table, levels, choices[i], w, at, index, rhos) for i, w in zip(keep, share, strict=True)
    ]
    mean = sum((c.weight * c.mean for c in components), np.zeros(len(table.settings)))
    spread = sum((c.weight * c.covariance for c in components), np.zeros((len(mean), len(mean))))
    for c in components:
        spread += c.weight * np.outer(c.mean - mean, c.mean - mean)
    complete = np.bincount(table.setting, ~np.isnan(table.values[:, -1]), len(mean))
    degrees = max(3.0, float(np.maximum(complete - 1, 0).sum()) + 2)
    correlations = _correlations(table, levels, hyper, index, rhos)
    return Posterior(
        table.settings, index, components, mean, spread, complete, degrees, table.epoch_variance, correlations, maximize, table
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


def _summaries(table: Table, weights: Sequence[Array], rhos: Array, only: Array | None = None) -> list[Level | None]:
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
            summarize(table.setting[there], table.seed[there], table.values[there, k], before, weight, slope, expected, rhos[k])
        )
    return levels


def _seed_shares(table: Table, weights: Sequence[Array], reference: int | None, choices: Sequence[Hyper]) -> Array:
    """Return [L] rho: the share of luck that a seed's runs have in common, by level; its posterior mean on a grid."""
    count, depth = len(table.settings), len(table.times)
    scores = np.full((len(_RHOS), depth), np.nan)
    for i, rho in enumerate(_RHOS):
        for k, level in enumerate(_summaries(table, weights, np.full(depth, rho))):
            if level is None or level.design.shape[1] <= 1 + level.slopes:  # no seed has two settings
                continue
            found = [solve(level, covariance(h, count, None, reference), rho).evidence + h.log_prior for h in choices]
            scores[i, k] = np.logaddexp.reduce(found) + _RHO_PRIOR[i]
    known = ~np.isnan(scores[0])
    shares = np.full(depth, _RHOS[1])
    posterior = np.exp(scores[:, known] - scores[:, known].max(axis=0)) if known.any() else scores[:, known]
    shares[known] = _RHOS @ posterior / posterior.sum(axis=0)
    return shares


def _evidence(
    levels: Sequence[Level | None],
    count: int,
    points: Array | None,
    reference: int | None,
    rhos: Array,
    choices: Sequence[Hyper],
) -> Array:
    """Return [G] log marginal likelihood times prior of each choice."""
    found = []
    kernels: dict[float, Array] = {}
    for hyper in choices:
        prior = covariance(hyper, count, points, reference, kernels)
        parts = [solve(level, prior, rho).evidence for level, rho in zip(levels, rhos, strict=True) if level is not None]
        found.append(sum(parts) + hyper.log_prior)
    return np.array(found)


def _grid_evidence(
    table: Table,
    weights: Sequence[Array],
    levels: Sequence[Level | None],
    points: Array | None,
    reference: int | None,
    rhos: Array,
    choices: Sequence[Hyper],
) -> Array:
    """Return [G] log posterior of each choice, from a subset of the settings where there are many."""
    if points is None:
        return _evidence(levels, len(table.settings), None, reference, rhos, choices)
    runs = np.bincount(table.setting, minlength=len(table.settings))
    tried = np.flatnonzero(runs)
    if len(tried) > _SUBSET:
        order = tried[np.argsort(-runs[tried], kind="stable")]
        chosen = np.unique(np.linspace(0, len(order) - 1, _SUBSET // 2).astype(int))
        tried = np.unique(np.concatenate([order[: _SUBSET // 2], order[chosen]]))
    place = np.full(len(table.settings), -1)
    place[tried] = np.arange(len(tried))
    only = place[table.setting] >= 0
    small = replace(table, setting=np.maximum(place[table.setting], 0))
    at = int(place[reference]) if reference is not None and place[reference] >= 0 else None
    return _evidence(_summaries(small, weights, rhos, only), len(tried), points[tried], at, rhos, choices)


def _weights(
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
        weight = np.minimum(1.0, (_OUTLIER**2 / square) ** 2)
        count = np.bincount(setting, minlength=len(prior))
        sums = np.bincount(setting, weight * square, len(prior))
        own = np.where(count >= _OWN_NOISE, (_OWN_PRIOR + sums) / (_OWN_PRIOR + count), 1.0)
        found.append(weight / own[setting])
    return found


def _columns(level: Level, seed: Array, setting: Array, before: Array | None) -> Array:
    """Return [n, q] the runs' design, as in `summarize`."""
    columns = [np.ones(len(seed))]
    if before is not None:
        columns.append(before - level.center)
    columns += [(seed == one).astype(float) for one in np.unique(seed) if len(np.unique(setting[seed == one])) > 1]
    return np.stack(columns, 1)


def _component(
    table: Table,
    levels: Sequence[Level | None],
    hyper: Hyper,
    weight: float,
    points: Array | None,
    reference: int | None,
    rhos: Array,
) -> Component:
    """Return the posterior at full length under one choice of hyperparameters."""
    prior = covariance(hyper, len(table.settings), points, reference)
    mean, spread = np.zeros(len(table.settings)), np.zeros((len(table.settings),) * 2)
    luck = 0.0
    for k, (level, rho) in enumerate(zip(levels, rhos, strict=True)):
        if level is None:  # nobody got here: the time kernel alone
            slope = float(np.sqrt(table.times[k - 1] / table.times[k]))
            more = (1 - slope**2) * luck
            center = float(mean.mean())
            mean, spread, luck = center + slope * (mean - center), slope**2 * spread, luck
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
    if level.slopes:
        factor = float(solution.coefficients[1])
        worth = worth + factor * (mean - level.center)
        slope[:, 1] += mean - level.center
    new = factor**2 * spread + solution.variance * (slope @ solution.inverse @ slope.T)
    if left.ndim == 1:
        new[np.diag_indices_from(new)] += solution.variance * left
    else:
        new += solution.variance * left
    return worth, new, factor**2 * luck + solution.variance


def _correlations(
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
