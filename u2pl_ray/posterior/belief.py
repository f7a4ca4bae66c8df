"""Where the user believes good settings to lie: a density over the unit cube that proposals start from and unlearn.

As in NePS (https://automl.github.io/neps, "expert priors"), a belief in a number is a normal density around it, cut at
the ends of the range; in a range, flat within it and normal outside. The weight of the belief in a proposal follows
piBO (Hvarfner et al. 2022, arXiv 2204.11051): with n settings tried, gain x density ^ (10 / n).
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import norm

from u2pl_ray.posterior.runs import Array

Believed = tuple[float, float]
"""Lower and upper end in the unit cube of what is believed good; equal for one value. A choice is its own cell."""
_SD = 0.15
"""Standard deviation, in the unit cube, of what is believed outside the range or around the value."""
_UNLIKELY = np.log(0.2)
"""Log density of a choice that is not the believed one, against that of the one that is."""
_STRENGTH = 10.0


def log_density(points: Array, beliefs: Sequence[Believed | None], categories: Sequence[int]) -> Array:
    """Return [C] the log density of settings, 0 where everything is as believed.

    Args:
        points: [C, d] settings in the unit cube.
        beliefs: [d] what is believed of each parameter, None for nothing.
        categories: [d] number of categories, 0 for a number.
    """
    total = np.zeros(len(points))
    for column, belief, count in zip(points.T, beliefs, categories, strict=True):
        if belief is None:
            continue
        low, high = belief
        if count:
            total += np.where((column >= low) & (column < high), 0.0, _UNLIKELY)
        else:
            total -= 0.5 * (np.maximum(np.maximum(low - column, column - high), 0) / _SD) ** 2
    return total


def weight(tried: int) -> float:
    """Return the exponent of the density after so many settings: 10 / n, so it fades as values come in."""
    return _STRENGTH / max(tried, 1)


def believe(point: Array, beliefs: Sequence[Believed | None], categories: Sequence[int], exact: bool = False) -> Array:
    """Return [d] a setting drawn from the beliefs, from an evenly spread one: by the inverse of the distribution.

    Args:
        point: [d] in the unit cube; evenly spread points give points spread by the density.
        beliefs: [d] what is believed of each parameter, None for nothing.
        categories: [d] number of categories, 0 for a number.
        exact: take the believed value itself, or the middle of the range.
    """
    found = point.copy()
    for i, (belief, count) in enumerate(zip(beliefs, categories, strict=True)):
        if belief is None:
            continue
        if exact:
            found[i] = 0.5 * (belief[0] + belief[1])
        else:
            found[i] = _choice(point[i], belief, count) if count else _number(point[i], belief)
    return np.clip(found, 0, 1 - 1e-12)


def _number(share: float, belief: Believed) -> float:
    """Return the quantile of the density of a number: two normal flanks cut off at 0 and 1, and what lies between."""
    low, high = belief
    start, end = norm.cdf([-low / _SD, (1 - high) / _SD])
    areas = np.array([_SD * (0.5 - start), (high - low) / np.sqrt(2 * np.pi), _SD * (end - 0.5)])
    at = share * areas.sum()
    if at < areas[0]:
        return float(low + _SD * norm.ppf(start + at / _SD))
    if at < areas[0] + areas[1]:
        return float(low + (at - areas[0]) * np.sqrt(2 * np.pi))
    return float(high + _SD * norm.ppf(0.5 + min((at - areas[0] - areas[1]) / _SD, end - 0.5)))


def _choice(share: float, belief: Believed, count: int) -> float:
    """Return the middle of the cell of the choice at this quantile."""
    centers = (np.arange(count) + 0.5) / count
    likely = np.where((centers >= belief[0]) & (centers < belief[1]), 1.0, np.exp(_UNLIKELY))
    return float(centers[min(int(np.searchsorted(np.cumsum(likely) / likely.sum(), share)), count - 1)])
