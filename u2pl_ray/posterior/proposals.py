"""Proposals of a sampler that knows the noise: expected improvement of worth, not of a lucky value."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import ndtr
from scipy.stats import qmc

from u2pl_ray.config.errors import UserError
from u2pl_ray.posterior.belief import Believed, believe, log_density, weight
from u2pl_ray.posterior.fit import fit
from u2pl_ray.posterior.runs import Array, Run

START = 8
"""Settings that are spread evenly before the posterior proposes."""
_CANDIDATES = 256
_NEAR = 48
_BELIEVED = 64
_STEP = 0.08
"""Standard deviation of candidates around the best settings, in the unit cube."""


def encode(unit: Sequence[float], categories: Sequence[int]) -> list[float]:
    """Return a setting's place for the kernel: numbers as they are, a choice as one column a category.

    Two categories are 1 apart, as the ends of a number are.

    Args:
        unit: [d] the setting in the unit cube: numbers and integers by their place in the range (in its logarithm
            where the parameter is logarithmic), the c-th of n categories as (c + 0.5) / n.
        categories: [d] number of categories, 0 for a number.

    Raises:
        UserError: a value outside the cube (a conditional parameter that is absent has none).
    """
    found: list[float] = []
    for value, count in zip(unit, categories, strict=True):
        if not 0 <= value <= 1:  # also false for NaN
            raise UserError(
                "the sampler noisy-gp needs every parameter in every setting and within its range: "
                "use tpe for spaces with conditional parameters"
            )
        if count:
            place = min(int(value * count), count - 1)
            found += [np.sqrt(0.5) if i == place else 0.0 for i in range(count)]
        else:
            found.append(float(value))
    return found


def start_point(
    categories: Sequence[int],
    number: int,
    seed: int,
    beliefs: Sequence[Believed | None] | None = None,
    first: bool = False,
) -> Array:
    """Return [d] the `number`-th point (from 0) of a scrambled Sobol sequence in the unit cube.

    With beliefs, the first proposal is what is believed, and every other number is drawn from the beliefs: half of the
    start stays spread evenly, so that a wrong belief is found out.

    Args:
        categories: [d] number of categories of each parameter, 0 for numbers.
        number: counted from 0.
        seed: the sampler's seed.
        beliefs: [d] where good values are believed to lie (see belief.py), None for nothing.
        first: whether nothing was proposed before: numbers may begin with settings that were given.
    """
    size = max(0, number).bit_length()  # whole powers of two
    point = np.asarray(qmc.Sobol(len(categories), seed=seed).random_base2(size)[number], float)
    if beliefs is None or (number % 2 and not first):
        return point
    return believe(point, beliefs, categories, exact=first)


def propose(
    runs: Sequence[Run],
    points: Mapping[str, Sequence[float]],
    categories: Sequence[int],
    pending: Sequence[Sequence[float]],
    number: int,
    seed: int,
    reference: str | None = None,
    maximize: bool = True,
    beliefs: Sequence[Believed | None] | None = None,
    first: bool = False,
) -> Array:
    """Return the next setting to try, [d] in the unit cube.

    Among fresh Sobol points and points around the leaders, takes the one whose worth is expected to exceed the best
    worth known by most. Settings that are still running count as if they had turned out as expected, so parallel
    proposals differ. Beliefs weigh candidates by their density to the power 10 / (settings tried): they fade. The same
    arguments give the same setting.

    Args:
        runs: all runs so far, stopped ones too.
        points: by setting, its place in the unit cube (not encoded).
        categories: [d] number of categories of each parameter, 0 for numbers.
        pending: settings in the unit cube that have no value yet.
        number: the trial's number; the first `START` are spread evenly.
        seed: the sampler's seed.
        reference: the setting to beat, hardly shrunk towards the others.
        maximize: whether a larger value is better.
        beliefs: [d] where good values are believed to lie (see belief.py), None for nothing.
        first: whether nothing was proposed before.
    """
    if number < START or not runs:
        return start_point(categories, number, seed, beliefs, first)
    rng = np.random.default_rng([seed, number])
    tried = list(dict.fromkeys(run.setting for run in runs))
    at = np.array([points[name] for name in tried], float)
    candidates = _candidates(at, runs, tried, categories, rng, maximize)
    log_weights = None
    if beliefs is not None:
        drawn = qmc.Sobol(len(categories), seed=rng).random(_BELIEVED)
        candidates = np.vstack([candidates, [believe(point, beliefs, categories) for point in drawn]])
        log_weights = weight(len(tried)) * log_density(candidates, beliefs, categories)
    best = expected_improvement(
        runs,
        {name: encode(points[name], categories) for name in tried},
        [encode(point, categories) for point in candidates],
        [encode(point, categories) for point in pending],
        reference,
        maximize,
        log_weights=log_weights,
    )
    return np.asarray(candidates[best[0]], float)


def expected_improvement(
    runs: Sequence[Run],
    encoded: Mapping[str, Sequence[float]],
    places: Sequence[Sequence[float]],
    pending: Sequence[Sequence[float]] = (),
    reference: str | None = None,
    maximize: bool = True,
    count: int = 1,
    log_weights: Array | None = None,
) -> list[int]:
    """Return the indices of `count` candidates for a batch, best first.

    Args:
        runs: all runs so far.
        encoded: by setting with a run, its encoded place.
        places: the candidates' encoded places, at least `count`.
        pending: encoded places of settings still running.
        reference: the setting to beat.
        maximize: whether a larger value is better.
        count: size of the batch.
        log_weights: logarithms of what each candidate's expected improvement is multiplied by; none if None.
    """
    extra = {f"\0pending {i}": place for i, place in enumerate(pending)}
    new = {f"\0candidate {i}": place for i, place in enumerate(places)}
    posterior = fit(runs, reference, {**encoded, **extra, **new}, maximize)
    row = {name: i for i, name in enumerate(posterior.settings)}
    candidate = np.array([row[name] for name in new])
    known = np.array([row[name] for name in encoded])
    covariance, noise = posterior.covariance.copy(), posterior.seed_sd**2
    for name in extra:
        _imagine(covariance, row[name], noise)
    best = float(posterior.mean[known].max())
    found: list[int] = []
    for _ in range(count):
        sd = np.sqrt(np.maximum(covariance[candidate, candidate], 1e-18))
        z = (posterior.mean[candidate] - best) / sd
        gain = sd * (z * ndtr(z) + np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))
        if log_weights is not None:
            gain = np.log(np.maximum(gain, 1e-300)) + log_weights
        gain[found] = -np.inf
        found.append(int(np.argmax(gain)))
        _imagine(covariance, int(candidate[found[-1]]), noise)
    return found


def _imagine(covariance: Array, setting: int, noise: float) -> None:
    """Condition in place on a full training of a setting whose value is as expected: the means stay."""
    column = covariance[:, setting].copy()
    covariance -= np.outer(column, column) / (column[setting] + noise)


def _candidates(
    at: Array,
    runs: Sequence[Run],
    tried: Sequence[str],
    categories: Sequence[int],
    rng: np.random.Generator,
    maximize: bool,
) -> Array:
    """Return [C, d] candidates: Sobol points, and points around the settings with the best last values."""
    fresh = qmc.Sobol(at.shape[1], seed=rng).random(_CANDIDATES)
    last = {run.setting: run.values[max(run.values)] for run in runs}
    order = sorted(range(len(tried)), key=lambda i: last[tried[i]], reverse=maximize)[:4]
    near = np.repeat(at[order], _NEAR // len(order), 0)
    number = np.array([not count for count in categories])
    moved = np.where(number, near + _STEP * rng.standard_normal(near.shape), near)
    redraw = (~number) & (rng.random(near.shape) < 0.2)
    moved = np.where(redraw, rng.random(near.shape), moved)
    return np.vstack([fresh, np.clip(moved, 0, 1 - 1e-12)])
