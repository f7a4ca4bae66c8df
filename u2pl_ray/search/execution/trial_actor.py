"""The process of a trial: run trainings one after the other, and report each epoch and each end to the driver.

The process is kept from trial to trial, as importing Ray and torch takes longer than all else it does.
"""

import importlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ray import get, get_runtime_context, tune
from ray.train import UserCallback

from u2pl_ray.config import metrics as names
from u2pl_ray.config.schema import Config
from u2pl_ray.search.cluster.capacity import workers_with_room
from u2pl_ray.search.driver.assignment import Outcome
from u2pl_ray.search.execution.failures import RESTARTS, Interruption, Restarts, classify, interruption
from u2pl_ray.search.execution.progress import say, tell_wait, why_ended
from u2pl_ray.search.execution.reservations import reclaim
from u2pl_ray.search.execution.train_controller import LocalController
from u2pl_ray.search.execution.tune_scheduler import OUTCOME, REPORT
from u2pl_ray.search.storage import layout
from u2pl_ray.search.study.trial_record import State
from u2pl_ray.system.periodic import every
from u2pl_ray.train.run_files import mend
from u2pl_ray.train.session import Metrics
from u2pl_ray.train.watchdog import LOOK

logger = logging.getLogger(__name__)

_STOP_SECONDS = 20.0


class TrialRunner(tune.Trainable):
    """The Tune trainable. Each step returns the report of one epoch, or the end of the training."""

    _epoch: int

    def setup(self, config: dict[str, Any], claims: Any, storage_path: str, trainer: str) -> None:
        """Start the first training.

        Args:
            config: from `StudySearcher`: trial (its id), config (JSON), reported_epochs, start.
            claims: the search's `Claims`.
            storage_path: `trials/` of the experiment; the training's run is `<trial>/train` below it.
            trainer: `module:function` with the arguments of `u2pl_ray.train.launch.build_trainer`.
        """
        self._claims, self._storage_path, self._trainer = claims, storage_path, trainer
        self._training = self._start(config)

    def step(self) -> dict[str, Any]:
        """Wait for the next report or the end of the training, and return it."""
        item = self._training.next()
        if isinstance(item, Outcome):
            return {names.EPOCH: self._epoch, OUTCOME: [item.state.value, item.reason, item.detail]}
        self._epoch = item[names.EPOCH]
        return {names.EPOCH: self._epoch, REPORT: [item]}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start another trial's training; False if the previous one does not end, so that Tune ends this process."""
        if not self._training.stop():
            return False
        self._training = self._start(new_config)
        return True

    def cleanup(self) -> None:
        """End the training."""
        self._training.stop()

    def _start(self, config: dict[str, Any]) -> "Training":
        trial, self._epoch = config["trial"], config["reported_epochs"]
        folder, claims = f"{self._storage_path}/{trial}", self._claims
        claims.runs.remote(trial, get_runtime_context().current_actor)
        start = {} if config["start"] is None else {"start": f"{folder}/{config['start']}"}
        return Training(
            lambda group: get(claims.add.remote(trial, group)),
            lambda: reclaim(claims, trial),
            trainer=self._trainer,
            config=Config.model_validate_json(config["config"]),
            storage_path=folder,
            name=layout.RUN,
            reported_epochs=self._epoch,
            **start,
        )


class Training:
    """A training in a thread of this process; each report waits for the scheduler's decision on the previous one.

    Args:
        reserved: called with every placement group it reserves.
        free: frees these placement groups.
        trainer: `module:function`.
        arguments: for the trainer.
    """

    def __init__(self, reserved: Any, free: Callable[[], None], trainer: str, **arguments: Any) -> None:
        self._free = free
        self._items: queue.Queue[Metrics | Outcome] = queue.Queue()
        self._controller = LocalController(reserved, self._starting)
        self._trial = arguments["storage_path"].rpartition("/")[2]
        self._wait: tuple[str, float] | None = None
        self._reports = ReportCallback(self._items.put, f"/{self._trial}")
        self._thread = threading.Thread(target=self._train, args=(trainer, arguments), daemon=True)
        self._thread.start()

    def next(self) -> Metrics | Outcome:
        """Wait for the next report and return it; after the last one, the outcome."""
        return self._items.get()

    def stop(self) -> bool:
        """End the training if it runs; return whether it has ended."""
        self._reports.stop()
        self._controller.stop()
        self._thread.join(_STOP_SECONDS)
        return not self._thread.is_alive()

    def _train(self, trainer: str, arguments: dict[str, Any]) -> None:
        """Train, and queue an outcome whatever happens: without one the trial would wait for ever."""
        try:
            with every(LOOK, self._tell_wait, "waits"):
                outcome = self._run(trainer, arguments)
        except BaseException as error:
            logger.exception("a training's end could not be told")
            outcome = Outcome(State.FAILED, "error", f"{type(error).__name__}: its end could not be told")
        self._items.put(outcome)

    def _run(self, trainer: str, arguments: dict[str, Any]) -> Outcome:
        restarts, ceiling = Restarts(), None
        while True:
            outcome, workers, why = self._attempt(trainer, arguments, ceiling)
            if why is None or self._reports.stopped:
                return outcome
            if not restarts.allow(why, self._reports.epochs):
                return Outcome(State.FAILED, why.reason, f"{why.what} {RESTARTS + 1} times in a row")
            # A trial that the scheduler has ended loses its workers a moment before it is told.
            say(f"{self._trial} {why.what}; it goes on after epoch {self._reports.epochs}", of=self._trial)
            self._free()
            self._pause(why.pause)
            ceiling = workers if why.no_room else None

    def _pause(self, seconds: float) -> None:
        """Wait before a restart, but no longer than until the training is told to stop."""
        until = time.monotonic() + seconds
        self._wait = f"{seconds:.0f} s to pass before it is started again", time.monotonic()
        while time.monotonic() < until and not self._reports.stopped:
            time.sleep(0.2)
        self._wait = None

    def _starting(self, begins: bool) -> None:
        """Hear that the training's workers are being started, or that this has ended, well or not."""
        self._wait = ("room on the cluster, and its workers to start", time.monotonic()) if begins else None

    def _tell_wait(self) -> None:
        if (wait := self._wait) is not None:
            what, since = wait
            tell_wait(self._trial, "it", what, time.monotonic() - since)

    def _attempt(
        self, trainer: str, arguments: dict[str, Any], ceiling: int | None
    ) -> tuple[Outcome, int, Interruption | None]:
        """Train once, from the newest checkpoint.

        Args:
            trainer: `module:function`.
            arguments: for the trainer.
            ceiling: a number of workers that did not fit, or None.

        Returns:
            How it ended, the number of workers, and what interrupted it (None: nothing).
        """
        workers, config = 0, arguments["config"]
        try:
            workers = workers_with_room(config, ceiling)
            for line in mend(f"{arguments['storage_path']}/{arguments['name']}"):
                say(line)
            known = max(arguments["reported_epochs"], self._reports.epochs)
            settings = {**arguments, "config": config.with_workers(workers), "reported_epochs": known}
            self._controller.fit(load_callable(trainer)(callbacks=[self._reports], **settings))
        except BaseException as error:
            shared = config.resources.gpus_per_worker < 1
            outcome = classify(error, workers, shared)
            why = interruption(error, workers, shared) if outcome.reason == "error" else None
            if why is not None and (waited := why_ended(self._trial)):
                why = replace(why, what=waited)
            return outcome, workers, why
        return Outcome(State.COMPLETED), workers, None


class ReportCallback(UserCallback):
    """Ray Train callback that passes on the reports of rank 0, with the checkpoint's folder.

    Args:
        put: called with each report.
        root: folder name after which checkpoint paths begin, so that they stay valid when the storage moves.
    """

    def __init__(self, put: Any, root: str) -> None:
        self._put, self._root, self.stopped, self.epochs = put, root, False, 0

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as an empty callback: workers receive their run's callbacks, and do not use this one."""
        return (UserCallback, ())

    def stop(self) -> None:
        """Raise on further reports, which ends a training that runs in this process."""
        self.stopped = True

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Pass on an epoch; Ray Train calls this when all workers have reported it.

        Args:
            run_context: unused.
            metrics: of each worker; those of rank 0 are passed on.
            checkpoint: of this epoch, or None.
        """
        if self.stopped:
            raise RuntimeError("the trial has been stopped")
        report = dict(metrics[0])
        if checkpoint is not None:
            report["checkpoint"] = checkpoint.path.rpartition(f"{self._root}/")[2]
        self.epochs = report.get(names.EPOCH, self.epochs)
        self._put(report)


def load_callable(path: str) -> Any:
    """Import the function named by `module:function`."""
    module, _, function = path.partition(":")
    return getattr(importlib.import_module(module), function)
