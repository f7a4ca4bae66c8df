"""Register a search as a native W&B Sweep, so that the Sweep page's parallel coordinates and importance work.

The method is `custom`: W&B proposes nothing, the trials come from Ray Tune and join by id.
"""

from collections.abc import Mapping
from typing import Any


def sweep_config(space: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Build the sweep configuration that is registered for a search space.

    Args:
        space: In the W&B sweep grammar: `parameters` (names are dotted configuration paths) and `metric`.
        name: The experiment's name.

    Returns:
        A sweep configuration. Dotted names are nested, as the runs' configurations are. There is no `early_terminate`:
        with it W&B would stop runs itself.
    """
    parameters: dict[str, Any] = {}
    for dotted, distribution in space.get("parameters", {}).items():
        *parents, leaf = dotted.split(".")
        place = parameters
        for parent in parents:
            place = place.setdefault(parent, {"parameters": {}})["parameters"]
        place[leaf] = dict(distribution)
    metric = {"metric": dict(space["metric"])} if "metric" in space else {}
    return {"method": "custom", "name": name, **metric, "parameters": parameters}


def register(space: Mapping[str, Any], name: str, project: str, entity: str | None) -> str:
    """Create the sweep on the server.

    Args:
        space: As for `sweep_config`.
        name: The experiment's name.
        project: W&B project.
        entity: W&B user or team; None: the account's default.

    Returns:
        The sweep's id.

    Raises:
        Exception: whatever the client raises if the server cannot be reached. It also prints the account's name: call
            this in the uploading process only, whose output goes nowhere.
    """
    import wandb

    return wandb.sweep(sweep_config(space, name), entity=entity, project=project)
