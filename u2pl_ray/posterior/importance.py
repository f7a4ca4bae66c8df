"""How much each parameter matters for the settings' worth, and how sure that is.

Which parameters matter is not known: every set of them is a model, a Gaussian process over these parameters alone. The
sets are weighed by marginal likelihood, with a prior of one half for the empty set and alike for every number of
parameters otherwise (as Scott & Berger 2010 correct for multiplicity). From each model functions are drawn, and from
each function Sobol's total-effect index (Jansen 1999): the part of the variance over the space that a parameter has a
hand in, its interactions included. A parameter outside the drawn set has 0. So noise shows as a wide interval that
reaches 0, where PED-ANOVA or fANOVA name one number.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky
from scipy.stats import qmc

from u2pl_ray.config.errors import UserError
from u2pl_ray.posterior.fit import Posterior
from u2pl_ray.posterior.prior import matern
from u2pl_ray.posterior.proposals import encode
from u2pl_ray.posterior.runs import Array

_LENGTHS = (0.3, 0.6, 1.2)
_NUGGETS = (0.05, 0.5)
_DRAWS = 200
_BASE = 64
"""Points of the design from which an index is computed; there are as many again for each parameter."""
_MOST_SETS = 1500
_DOUBTFUL = 0.75
"""A parameter that matters with less than this probability should be shown greyed."""


@dataclass(frozen=True)
class Importance:
    """Hold what is known of one parameter's importance.

    Args:
        mean, low, high: total-effect index, 0 .. 1: posterior mean and central 90 % interval.
        matters: probability that it matters at all.
        greyed: whether that is too little to speak of.
    """

    mean: float
    low: float
    high: float
    matters: float
    greyed: bool


@dataclass(frozen=True)
class Importances:
    """Hold all parameters' importances.

    Args:
        parameters: by parameter, in the order given.
        explained: expected part of the variance of the settings' worth that is smooth in the parameters.
        anything: probability that any parameter matters.
    """

    parameters: list[Importance]
    explained: float
    anything: float


@dataclass(frozen=True)
class _Model:
    chosen: tuple[int, ...]
    length: float
    nugget: float


def importances(posterior: Posterior, points: Mapping[str, Sequence[float]], categories: Sequence[int]) -> Importances:
    """Return how much each parameter matters.

    Args:
        posterior: of independent settings (`fit` without points), so that nothing is smoothed twice.
        points: by setting, its place in the unit cube (not encoded).
        categories: [d] number of categories of each parameter, 0 for numbers.

    Raises:
        UserError: a setting with a run has no point, or fewer than two settings have runs.
    """
    worth, noise, rows = _observations(posterior)
    names = [posterior.settings[i] for i in rows]
    missing = [name for name in names if name not in points]
    if missing or len(names) < 2:
        raise UserError("importances need two settings with runs, and every setting's place: give all points")
    unit = np.array([points[name] for name in names], float)
    columns = [_columns(unit[:, [j]], [count]) for j, count in enumerate(categories)]
    size = sum(c.weight * c.setting_variance for c in posterior.components)
    models = _models(len(categories))
    scores = np.array([_score(model, columns, worth, noise, size) for model in models])
    scores += [_log_prior(model, len(categories)) for model in models]
    weights = np.exp(scores - scores.max())
    weights /= weights.sum()
    rng = np.random.default_rng(0)
    drawn = np.zeros((_DRAWS, len(categories)))
    row = 0
    for i, times in zip(*np.unique(rng.choice(len(models), _DRAWS, p=weights), return_counts=True), strict=True):
        if models[i].chosen:
            part = _indices(models[i], columns, categories, worth, noise, size, int(times), rng)
            drawn[row : row + times, list(models[i].chosen)] = part
        row += times
    anything = 1 - sum(w for w, model in zip(weights, models, strict=True) if not model.chosen)
    found = []
    for j in range(len(categories)):
        matters = float(sum(w for w, model in zip(weights, models, strict=True) if j in model.chosen))
        low, high = np.quantile(drawn[:, j], [0.05, 0.95])
        found.append(Importance(float(drawn[:, j].mean()), float(low), float(high), matters, matters < _DOUBTFUL))
    explained = sum(w * (1 - model.nugget) for w, model in zip(weights, models, strict=True) if model.chosen)
    return Importances(found, float(explained), float(anything))


def _observations(posterior: Posterior) -> tuple[Array, Array, NDArray[np.intp]]:
    """Return what the runs alone say of each setting: worth, variance, and the settings' indices.

    Each setting's marginal posterior is divided by its prior; what all settings share (the level) is taken out first.
    """
    rows = np.unique(posterior.table.setting)
    prior = sum(c.weight * c.setting_variance for c in posterior.components)
    covariance = posterior.covariance[np.ix_(rows, rows)]
    off = covariance[~np.eye(len(rows), dtype=bool)]
    variance = np.diag(covariance) - (float(np.median(off)) if len(off) else 0.0)
    variance = np.clip(variance, 1e-4 * prior, 0.98 * prior)
    noise = 1 / (1 / variance - 1 / prior)
    center = float(np.average(posterior.mean[rows], weights=1 / (prior + noise)))
    return center + (posterior.mean[rows] - center) * noise / variance, noise, rows


def _models(count: int) -> list[_Model]:
    """Return all sets of parameters with all shapes; the smaller sets alone where there are too many."""
    found = [_Model((), 1.0, 1.0)]
    sets = 1
    for k in range(1, count + 1):
        sets += math.comb(count, k)
        if sets > _MOST_SETS and k > 1:
            break
        found += [
            _Model(chosen, length, nugget)
            for chosen in itertools.combinations(range(count), k)
            for length in _LENGTHS
            for nugget in _NUGGETS
        ]
    return found


def _log_prior(model: _Model, count: int) -> float:
    """Return the log prior of a model: one half for none, then alike for every number, every set and every shape."""
    if not model.chosen:
        return math.log(0.5)
    return math.log(0.5 / (count * math.comb(count, len(model.chosen)) * len(_LENGTHS) * len(_NUGGETS)))


def _columns(unit: Array, categories: Sequence[int]) -> Array:
    """Return [C, e] encoded places."""
    return np.array([encode(point, categories) for point in unit], float)


def _root(model: _Model, columns: Sequence[Array], noise: Array, size: float) -> tuple[Array, Array]:
    """Return places [S, e] and the Cholesky factor of the observations' covariance under a model."""
    covariance = np.diag(size * model.nugget + noise)
    at = np.hstack([columns[j] for j in model.chosen]) if model.chosen else np.zeros((len(noise), 0))
    if model.chosen:
        covariance += size * (1 - model.nugget) * matern(at, at, model.length)
    return at, cholesky(covariance, lower=True, check_finite=False)


def _score(model: _Model, columns: Sequence[Array], worth: Array, noise: Array, size: float) -> float:
    """Return the log marginal likelihood of a model; the mean is unknown and integrated out."""
    _, root = _root(model, columns, noise, size)
    solved = cho_solve((root, True), np.column_stack([worth, np.ones_like(worth)]), check_finite=False)
    precision = float(solved[:, 1].sum())
    square = float(worth @ solved[:, 0]) - float(solved[:, 0].sum()) ** 2 / precision
    return -0.5 * (square + math.log(precision)) - float(np.log(np.diag(root)).sum())


def _indices(
    model: _Model,
    columns: Sequence[Array],
    categories: Sequence[int],
    worth: Array,
    noise: Array,
    size: float,
    draws: int,
    rng: np.random.Generator,
) -> Array:
    """Return [draws, k] total-effect indices of the chosen parameters, of functions drawn from a model's posterior."""
    k = len(model.chosen)
    both = qmc.Sobol(2 * k, seed=rng).random(_BASE)
    first, second = both[:, :k], both[:, k:]
    design = [first]
    for j in range(k):
        moved = first.copy()
        moved[:, j] = second[:, j]
        design.append(moved)
    places = _columns(np.vstack(design), [categories[j] for j in model.chosen])
    at, root = _root(model, columns, noise, size)
    smooth = size * (1 - model.nugget)
    cross = smooth * matern(places, at, model.length)
    solved = cho_solve((root, True), np.column_stack([cross.T, worth, np.ones_like(worth)]), check_finite=False)
    center = float(solved[:, -2].sum() / solved[:, -1].sum())
    mean = cross @ (solved[:, -2] - center * solved[:, -1])
    left = smooth * matern(places, places, model.length) - cross @ solved[:, :-2]
    left[np.diag_indices_from(left)] += 1e-6 * smooth
    values = mean + rng.standard_normal((draws, len(places))) @ cholesky(left, lower=True, check_finite=False).T
    values = values.reshape(draws, k + 1, _BASE)
    variance = values[:, 0].var(axis=1, ddof=1)[:, None]
    moved_by = 0.5 * ((values[:, 1:] - values[:, :1]) ** 2).mean(axis=2)
    return np.asarray(np.clip(moved_by / np.maximum(variance, 1e-300), 0.0, 1.0), float)
