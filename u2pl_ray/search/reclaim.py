"""Gives back what a training holds of the cluster when its trial ends, however it ends.

Ray Train reserves its workers' resources in a placement group that belongs to the job, not to the trial: when a trial
is stopped, or its process dies, the reservation stays and the next trial waits for it for ever. Ray's own remedy is a
process per training that asks the dashboard whether the training's controller lives; without a dashboard (Ray installed
without its `default` extra) it asks in vain, frees nothing, and never ends. Seen with Ray 2.60. So the controller of
every training tells the search's mailbox what it reserves, when it does, and the driver frees it when the trial ends.
"""

import logging
from typing import Any

import ray
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.util.placement_group import remove_placement_group

logger = logging.getLogger(__name__)

CONTROLLER, GROUP = "controller", "group"


class ClaimCallback(ControllerCallback):
    """In a training's controller: tells the mailbox of the controller and of every placement group it makes."""

    def __init__(self, mailbox: Any, trial: str) -> None:
        self._mailbox, self._trial = mailbox, trial

    def after_controller_start(self, train_run_context: Any) -> None:
        """Called by Ray Train before it reserves anything."""
        from ray.train.v2._internal.execution.worker_group import worker_group

        self._claim(CONTROLLER, ray.get_runtime_context().current_actor)
        reserve = worker_group.placement_group

        def reserve_and_claim(*arguments: Any, **options: Any) -> Any:
            group = reserve(*arguments, **options)
            self._claim(GROUP, group)
            return group

        worker_group.placement_group = reserve_and_claim

    def _claim(self, kind: str, thing: Any) -> None:
        ray.get(self._mailbox.claim.remote(self._trial, kind, thing))


def claim_in_controllers(mailbox: Any, trial: str) -> None:
    """Have trainings started by this process use `ClaimCallback` in the place of Ray's process per training."""
    from ray.train.v2.api import data_parallel_trainer

    data_parallel_trainer.PlacementGroupCleanerCallback = lambda: ClaimCallback(mailbox, trial)


def reclaim(mailbox: Any, trial: str) -> None:
    """Free what the trial's trainings still hold. Never raises."""
    try:
        claims = ray.get(mailbox.claims.remote(trial), timeout=10)
        # Controllers first: a living one would reserve anew.
        for kind, thing in sorted(claims, key=lambda claim: claim[0]):
            if kind == CONTROLLER:
                ray.kill(thing)
            else:
                remove_placement_group(thing)
    except Exception:
        logger.exception("what trial %s holds of the cluster could not be freed", trial)
