"""Trainings of other methods beside a search, such as supervised: do unlabeled images help at all?"""

from collections.abc import Sequence

from u2pl_ray.config import overrides
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.methods import METHODS
from u2pl_ray.config.schema import Config
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study.companion import Companion, Kind

NONE = "none"
_COMPARABLE = ("val/", "perf/")
"""Metrics that every method reports start with these."""


def choose_baselines(asked: Sequence[str] | None, space: Space, config: Config) -> tuple[tuple[str, ...], list[str]]:
    """Return the methods that are trained beside a search, each once, with its configuration, budget and seed.

    Args:
        asked: names of methods, or none; None: supervised, where the search is of a method with unlabeled images.
        space: what is searched; a setting that it fixes holds for the baselines too.
        config: the configuration the trials start from.

    Returns:
        The methods, and a sentence if the usual one is left out.

    Raises:
        UserError: a name is no method, or a baseline would not report what the search compares.
    """
    if asked is not None and list(asked) == [NONE]:
        return (), []
    strange = [it.name for it in space.objectives if not it.name.startswith(_COMPARABLE)]
    if asked is None:
        if not config.method.semi_supervised or all(it.distribution.single() for it in space.parameters.values()):
            return (), []
        if strange:
            return (), [f"no supervised training beside the search: it has no {strange[0]}"]
        asked = ["supervised"]
    for name in asked:
        if name not in METHODS:
            raise UserError(f"--baseline {name}: there are {', '.join(METHODS)}, or {NONE} alone")
        if strange:
            raise UserError(f"--baseline {name}: does not report {strange[0]}, which the search compares")
        overrides.apply(config, {**space.constants, **changes(name)})
    return tuple(dict.fromkeys(asked)), []


def changes(method: str) -> dict[str, str]:
    """Return a baseline's changes to the search's configuration."""
    return {"method.name": method}


def companion(method: str) -> Companion:
    """Return the companion that trains a method beside the search."""
    return Companion(Kind.BASELINE, changes(method))
