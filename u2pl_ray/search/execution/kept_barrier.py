"""Keep the actor at which Ray Train's workers meet from one training to the next.

Ray Train starts a process for it in every training, which imports Ray Train: two seconds of a core. Ray offers no
setting for it, so two names in its modules are replaced.
"""

from typing import Any

import ray
from ray.train.v2._internal.execution.checkpoint.sync_actor import SynchronizationActor
from ray.train.v2._internal.execution.worker_group import state, worker_group

_PATIENCE = 10.0
"""Seconds for the kept actor to answer."""


class KeptBarrier:
    """Stands for Ray Train's `SynchronizationActor` in this process, which runs one training after the other.

    The actor dies with this process, which owns it.
    """

    def __init__(self) -> None:
        self._actor: Any = None
        self._options: dict[str, Any] = {}

    def install(self) -> None:
        """Take the place of Ray Train's own; once more is as well."""
        worker_group.SynchronizationActor = self
        state._shutdown_sync_actor = self.leave

    def options(self, **options: Any) -> "KeptBarrier":
        """Hear the options of the actor that is asked for next."""
        self._options = options
        return self

    def remote(self, **arguments: Any) -> Any:
        """Return the kept actor where nobody stands at it, else a new one with these arguments."""
        if self._actor is not None and not self._free():
            self.drop()
        if self._actor is None:
            self._actor = SynchronizationActor.options(**self._options).remote(**arguments)
        return self._actor

    def leave(self, actor: Any) -> None:
        """Keep the actor of a training that has ended, where Ray Train would end it."""
        if actor != self._actor:
            ray.kill(actor)

    def drop(self) -> None:
        """End the kept actor; the next training gets a new one."""
        actor, self._actor = self._actor, None
        if actor is not None:
            ray.kill(actor)

    def _free(self) -> bool:
        """Tell whether the actor lives and no worker of an earlier training waits at it."""
        try:
            strict, waiting = ray.get(
                [self._actor.set_required_ranks.remote(None), self._actor.get_counter.remote()], timeout=_PATIENCE
            )
        except ray.exceptions.RayError:
            return False
        return bool(strict) and waiting == 0
