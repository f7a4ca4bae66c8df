"""Build the first trial of a search: the paper's values of what is searched, as far as the space allows them.

All else stays as the configuration has it, as in every trial: a search compares trials that differ in what is searched
alone. So the trial called `paper` is the paper's own setting if the configuration is; `unlike_paper` says where
it is not.
"""

from typing import Any

from u2pl_ray.config import overrides
from u2pl_ray.config.checks import PAPER_RANKS
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.space.space import Space

_OF_THE_DATA = (
    *("method.contrastive.low_rank", "method.contrastive.high_rank"),
    *("method.memory_bank.background_class", "method.memory_bank.background_capacity"),
)
"""Settings that follow from the classes, so that the paper's own would mean something else."""


def paper_setting(space: Space, base: Config) -> tuple[dict[str, Any], list[str]]:
    """Take the paper's value (the schema's default) of each searched setting; move it into its range if outside.

    Args:
        space: what is searched.
        base: the configuration the trials start from; its value stands in where no choice is near the paper's.

    Returns:
        The settings by dotted path, and one sentence for each that differs from the paper's value. No settings if
        nothing is searched, or if the moved values are not valid together; a sentence then says why.
    """
    if all(parameter.distribution.single() for parameter in space.parameters.values()):
        return {}, []  # nothing to choose
    low, high = PAPER_RANKS  # the schema's follow the number of classes
    paper = overrides.apply(Config(), {"method.contrastive.low_rank": low, "method.contrastive.high_rank": high})
    setting: dict[str, Any] = {}
    notes: list[str] = []
    for path, parameter in space.parameters.items():
        wanted = _value(paper, path)
        try:
            value = parameter.clip(wanted)
        except ValueError:
            try:
                value = parameter.clip(_value(base, path))
            except ValueError:
                value = parameter.decode(parameter.distribution.to_external_repr(0))
        setting[path] = value
        if value != (list(wanted) if isinstance(wanted, tuple) else wanted):
            notes.append(f"{path}: the paper's {wanted} is outside {parameter.extent()}; the first trial takes {value}")
    try:
        space.configure(base, setting)
    except UserError as error:
        return {}, [*notes, f"the paper's setting is not valid here and is left out: {error}"]
    return setting, notes


def unlike_paper(space: Space, base: Config) -> list[str]:
    """List the method's settings that no trial changes and that are not the paper's.

    Args:
        space: what is searched.
        base: the configuration the trials start from.

    Returns:
        Such as `method.unsupervised_weight=0.3 (paper: 1.0)`, for each.
    """
    paper, common = Config(), overrides.apply(base, space.constants)
    return [
        f"{path}={_value(common, path)} (paper: {_value(paper, path)})"
        for path in overrides.paths()
        if path.startswith("method.")
        and path not in (*_OF_THE_DATA, *space.parameters)
        and _value(common, path) != _value(paper, path)
    ]


def _value(config: Config, path: str) -> Any:
    try:
        return overrides.get(config, path)
    except UserError:  # an entry of free-form options that this configuration does not have
        return None
