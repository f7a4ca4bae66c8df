"""Gives back what a training holds of the cluster when its trial ends, however it ends.

Ray Train reserves its workers' resources in a placement group that belongs to the job, not to the trial: when the
trial's process dies, the reservation stays and the next trial waits for it for ever. Ray's own remedy is a process per
training that asks the dashboard whether the training's controller lives; without a dashboard (Ray installed without
its `default` extra) it asks in vain, frees nothing, and never ends. Seen with Ray 2.60. So every training tells the
search's `Claims` what it reserves, when it does, and the driver frees it when the trial ends.
"""

import logging
from collections import defaultdict
from typing import Any

import ray
from ray.util.placement_group import remove_placement_group

logger = logging.getLogger(__name__)


class Claims:
    """What the trials' trainings hold of the cluster."""

    def __init__(self) -> None:
        self._claims: dict[str, list[Any]] = defaultdict(list)

    def add(self, trial: str, group: Any) -> None:
        """Note a placement group of a trial."""
        self._claims[trial].append(group)

    def take(self, trial: str) -> list[Any]:
        """The trial's placement groups since this was last asked."""
        return self._claims.pop(trial, [])


def start_claims() -> Any:
    """The actor for a search, on this process's node: it outlives the trials' processes."""
    node = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    return ray.remote(num_cpus=0, scheduling_strategy=node)(Claims).remote()


def reclaim(claims: Any, trial: str) -> None:
    """Free what the trial's trainings still hold. Never raises."""
    try:
        for group in ray.get(claims.take.remote(trial), timeout=10):
            remove_placement_group(group)
    except Exception:
        logger.exception("what trial %s holds of the cluster could not be freed", trial)
