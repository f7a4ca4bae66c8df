"""Free the placement groups of a training when its trial ends, however it ends; kill the process of a silent trial.

Ray Train reserves its workers' resources in a placement group that belongs to the job, not to the trial: when the
trial's process dies, the reservation stays and the next trial waits for it for ever. Ray's own remedy is a process per
training that asks the dashboard whether the training's controller lives; without a dashboard (Ray installed without
its `default` extra) it gets no answer, frees nothing, and never ends (observed with Ray 2.60). So every training
registers its placement groups with the search's `Claims` actor, and the driver frees them when the trial ends.
"""

import logging
from collections import defaultdict
from typing import Any

import ray
from ray.util.placement_group import remove_placement_group

logger = logging.getLogger(__name__)


class Claims:
    """Actor that stores the placement groups of all trials' trainings."""

    def __init__(self) -> None:
        self._claims: dict[str, list[Any]] = defaultdict(list)
        self._processes: dict[str, Any] = {}

    def runs(self, trial: str, process: Any) -> None:
        """Store which actor runs a trial.

        Args:
            trial: its id.
            process: the actor's handle.
        """
        self._processes[trial] = process

    def process(self, trial: str) -> Any:
        """Return the actor that runs a trial; None if none ever did."""
        return self._processes.get(trial)

    def add(self, trial: str, group: Any) -> None:
        """Store a placement group.

        Args:
            trial: id of its trial.
            group: the placement group.
        """
        self._claims[trial].append(group)

    def take(self, trial: str) -> list[Any]:
        """Return the trial's placement groups and forget them."""
        return self._claims.pop(trial, [])


def start_claims() -> Any:
    """Start the actor of a search on this process's node, where it outlives the trials' processes."""
    node = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    return ray.remote(num_cpus=0, scheduling_strategy=node)(Claims).remote()


def end_process(claims: Any, trial: str) -> bool:
    """Kill the process that runs a trial, and with it its workers: Tune starts the trial again. Never raises.

    Args:
        claims: from `start_claims`.
        trial: its id.

    Returns:
        False if it never had one: the cluster has no room for it yet.
    """
    try:
        if (process := ray.get(claims.process.remote(trial), timeout=10)) is None:
            return False
        ray.kill(process, no_restart=True)
    except Exception:
        logger.exception("the process of trial %s could not be ended", trial)
    return True


def reclaim(claims: Any, trial: str) -> None:
    """Free the placement groups that a trial's trainings still hold. Never raises.

    Args:
        claims: from `start_claims`.
        trial: its id.
    """
    try:
        for group in ray.get(claims.take.remote(trial), timeout=10):
            remove_placement_group(group)
    except Exception:
        logger.exception("what trial %s holds of the cluster could not be freed", trial)
