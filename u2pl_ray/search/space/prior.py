"""The prior of a searched setting: where the user believes good values to lie (`prior: 0.5`, or `prior: [0.3, 0.6]`).

As in NePS, a value or a range beside the parameter's own; what it does to proposals is in `posterior/belief.py`.
"""

from dataclasses import replace
from typing import Any

from u2pl_ray.config.errors import UserError
from u2pl_ray.search.space.parameter import Parameter, bounds, is_number, number_of, same


def with_prior(parameter: Parameter, prior: Any, where: str) -> Parameter:
    """Return the parameter with its prior.

    Args:
        parameter: the searched setting.
        prior: as written in the space: a value, two values (lowest and highest), or one of the choices.
        where: file and parameter, for messages.

    Raises:
        UserError: no value of the parameter, or an inverted range.
    """
    if parameter.choices is not None:
        if not any(same(choice, prior) for choice in parameter.choices):
            raise UserError(f"{where}: prior {prior!r} is not among {parameter.extent()}: name one of the values")
        return replace(parameter, prior=(prior, prior))
    ends = [number_of(value) for value in (prior if isinstance(prior, list) else [prior, prior])]
    if len(ends) != 2 or not all(is_number(value) for value in ends):
        raise UserError(f"{where}: prior {prior!r}: write a number, or two as in [0.3, 0.6]")
    if ends[0] > ends[1]:
        raise UserError(f"{where}: prior {prior!r} is inverted: write the lower end first")
    low, high = bounds(parameter.distribution)
    for value in ends:
        if not low <= value <= high:  # also refuses NaN
            raise UserError(f"{where}: prior {value!r} is outside {parameter.extent()}: move it, or widen the range")
    return replace(parameter, prior=(ends[0], ends[1]))
