"""Spaces of a few settings: all of them can be tried, each once, where a sampler would propose some again."""

import itertools
import math
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from u2pl_ray.search.space.space import Space

FEW = 64
"""Settings up to which all are listed."""


def all_settings(space: Space) -> list[dict[str, Any]] | None:
    """Return every setting of a space by dotted path; None if there are more than `FEW`, or the seed is searched.

    A setting that is trained twice on one seed is the same training twice.
    """
    values: list[list[Any]] = []
    for path, distribution in space.distributions.items():
        few = None if path == "seed" else _values(distribution)
        if few is None:
            return None
        values.append(few)
    if not values or math.prod(map(len, values)) > FEW:
        return None
    return [space.decode(dict(zip(space.distributions, chosen, strict=True))) for chosen in itertools.product(*values)]


def _values(distribution: BaseDistribution) -> list[Any] | None:
    """Return what can be drawn, as the study stores it; None if that is too much."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if distribution.single():
        return [distribution.low]
    if isinstance(distribution, IntDistribution) and distribution.high - distribution.low < FEW * distribution.step:
        return list(range(distribution.low, distribution.high + 1, distribution.step))
    return None
