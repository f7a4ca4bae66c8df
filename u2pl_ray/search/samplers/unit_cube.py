"""Settings as points of the unit cube: numbers by their place in the range, on its scale; choices by their cell."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution


def searched(distributions: Mapping[str, BaseDistribution]) -> dict[str, BaseDistribution]:
    """Return the parameters that can vary; the seed is none of them, as no value of it is better."""
    return {path: it for path, it in distributions.items() if path != "seed" and not it.single()}


def categories(distributions: Mapping[str, BaseDistribution]) -> list[int]:
    """Return the number of choices of each parameter, 0 for a number."""
    return [len(it.choices) if isinstance(it, CategoricalDistribution) else 0 for it in distributions.values()]


def to_unit(distributions: Mapping[str, BaseDistribution], stored: Mapping[str, Any]) -> list[float]:
    """Return [d] a setting's place in the unit cube; a number outside its range lies outside 0 .. 1.

    Args:
        distributions: by parameter, none of them with a single value.
        stored: the setting, as the study stores it.

    Raises:
        KeyError: a parameter has no value.
    """
    return [_place(distribution, stored[path]) for path, distribution in distributions.items()]


def from_unit(distributions: Mapping[str, BaseDistribution], point: Sequence[float]) -> dict[str, Any]:
    """Return the setting at a place in the unit cube, as the study stores it; inverse of `to_unit` up to steps.

    Args:
        distributions: by parameter.
        point: [d] in 0 .. 1.
    """
    return {path: _value(it, share) for (path, it), share in zip(distributions.items(), point, strict=True)}


def _place(distribution: BaseDistribution, stored: Any) -> float:
    if isinstance(distribution, CategoricalDistribution):
        return (distribution.to_internal_repr(stored) + 0.5) / len(distribution.choices)
    low, high = _ends(distribution)
    return (_scaled(distribution, stored) - low) / (high - low)


def _value(distribution: BaseDistribution, share: float) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        count = len(distribution.choices)
        return distribution.choices[min(int(share * count), count - 1)]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = _ends(distribution)
    value = low + share * (high - low)
    value = math.exp(value) if distribution.log else value
    if isinstance(distribution, IntDistribution) or distribution.step is not None:
        step = distribution.step or 1
        value = distribution.low + round((value - distribution.low) / step) * step
    value = min(max(value, distribution.low), distribution.high)
    return round(value) if isinstance(distribution, IntDistribution) else float(value)


def _ends(distribution: BaseDistribution) -> tuple[float, float]:
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return _scaled(distribution, distribution.low), _scaled(distribution, distribution.high)


def _scaled(distribution: BaseDistribution, value: float) -> float:
    return math.log(value) if getattr(distribution, "log", False) else float(value)
