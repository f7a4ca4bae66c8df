"""Run Ray Train's controller in the trial's process, not in one of its own: one process less to start per trial.

Ray offers no setting for it: `TorchTrainer.fit` hands the controller's arguments to one method, which is replaced here.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

from ray.train import Result
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.worker_group import WorkerGroup

_UNUSED = (
    DatasetsCallback,  # serves Ray's data sets, which are not used
    PlacementGroupCleanerCallback,  # see `reclaim`
)
"""Parts of Ray Train that start a process for every training."""


class LocalController:
    """Controller of one trainer, run in the thread that calls `fit` until it ends or another thread calls `stop`.

    Args:
        reserved: called with every placement group the training reserves.
        starting: called with True before its workers are started, and with False after that.
    """

    def __init__(self, reserved: Callable[[Any], None], starting: Callable[[bool], None]) -> None:
        self._reserved, self._starting = reserved, starting
        self._lock = threading.Lock()
        self._stopped = False
        self._cancel: Callable[[], Any] | None = None

    def fit(self, trainer: Any) -> None:
        """Run the trainer as its own `fit` would.

        Raises:
            asyncio.CancelledError: `stop` was called.
        """
        trainer._initialize_and_run_controller = self._run
        trainer.fit()

    def stop(self) -> None:
        """End the training and its workers at once; `fit` raises when that is done."""
        with self._lock:
            self._stopped = True
            if self._cancel is not None:
                self._cancel()

    def _run(self, callbacks: Sequence[Any], **arguments: Any) -> Result:
        callbacks = [each for each in callbacks if not isinstance(each, _UNUSED)]
        controller = _controller(self._reserved, self._starting)(callbacks=callbacks, **arguments)

        async def run() -> None:
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            assert task is not None
            with self._lock:
                if self._stopped:
                    raise asyncio.CancelledError
                self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
            try:
                await controller.run()
            finally:
                with self._lock:
                    self._cancel = None
                if not controller.get_state().is_terminal():
                    controller._controller_callback_manager.invoke_best_effort("before_controller_abort")
                group = controller.get_worker_group()
                if group is not None and group.has_started():
                    group.abort()

        asyncio.run(run())
        return controller.get_result()


def _controller(reserved: Callable[[Any], None], starting: Callable[[bool], None]) -> type[TrainController]:
    class ClaimingGroup(WorkerGroup):
        def _start(self, *arguments: Any, **options: Any) -> Any:
            starting(True)
            try:
                return super()._start(*arguments, **options)
            finally:
                starting(False)

        def _create_placement_group(self, *arguments: Any, **options: Any) -> Any:
            handle = super()._create_placement_group(*arguments, **options)
            reserved(handle.placement_group)
            return handle

    class Controller(TrainController):
        worker_group_cls = ClaimingGroup

    return Controller
