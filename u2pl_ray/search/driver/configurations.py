"""The configurations of a search's trials."""

import json
from collections.abc import Mapping
from typing import Any

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.space.finite import all_settings
from u2pl_ray.search.space.space import Space


class Configurations:
    """Configurations that proposals stand for, each built and validated once.

    Args:
        space: what is searched.
        base: configuration the trials start from.
    """

    def __init__(self, space: Space, base: Config) -> None:
        self._space, self._base = space, base
        self._known: dict[str, Config] = {}

    def of(self, settings: Mapping[str, Any]) -> Config:
        """Return the configuration of a trial with these settings, by dotted path.

        Raises:
            UserError: they are not valid, or no longer.
        """
        key = json.dumps(settings, sort_keys=True, default=str)
        if key not in self._known:
            self._known[key] = self._space.configure(self._base, settings)
        return self._known[key]

    def objection(self, settings: Mapping[str, Any]) -> str:
        """Return why settings are not valid; an empty string if they are."""
        try:
            self.of(settings)
        except UserError as error:
            return str(error).removeprefix("config: ")
        return ""


def valid_settings(space: Space, configurations: Configurations) -> list[dict[str, Any]]:
    """Return the valid settings of a space of a few; empty for other spaces, see `all_settings`."""
    return [settings for settings in all_settings(space) or () if not configurations.objection(settings)]
