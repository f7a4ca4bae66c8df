"""Run Ray Tune for a driver: its processes and placement are used, its files, output and snapshots are not."""

import logging
import shlex
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from u2pl_ray.config import metrics as names
from u2pl_ray.search.cluster.capacity import TRIAL_MEMORY
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.execution.failures import RESTARTS
from u2pl_ray.search.storage import layout
from u2pl_ray.search.storage.place import Place
from u2pl_ray.search.storage.waits import WaitFile, WaitingProcess
from u2pl_ray.search.study.outage import lost

logger = logging.getLogger(__name__)

INTERRUPTED = "interrupted"
"""Why a run ended that was stopped on notice."""
LOST = "the storage does not take the study"
"""Begins the reason of a run that ended for that."""
_CREDENTIALS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN"}


def run_tune(driver: Driver, slots: Callable[[], int], place: Place, trainer: str) -> str:
    """Run the driver's trials to the end; return why it ended early, or an empty string.

    Args:
        driver: decides which trial runs.
        slots: returns how many trials may run at present.
        place: the experiment's.
        trainer: `module:function`, see `TrialRunner`.
    """
    from ray import tune
    from ray.tune.execution import class_cache

    from u2pl_ray.search.execution.head_watch import watch_head
    from u2pl_ray.search.execution.interrupts import end_softly, stop_softly
    from u2pl_ray.search.execution.progress import hear_progress
    from u2pl_ray.search.execution.reservations import end_process, reclaim, start_claims
    from u2pl_ray.search.execution.silence import Silence
    from u2pl_ray.search.execution.trial_actor import TrialRunner
    from u2pl_ray.search.execution.tune_scheduler import StudyScheduler
    from u2pl_ray.search.execution.tune_searcher import StudySearcher

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    # Tune would pass them to the trials' processes by way of every node's logs and process list. Each node has its own.
    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(_CREDENTIALS)
    scratch = place.folder / (layout.TUNE if driver.presence is None else f"{layout.TUNE}-{driver.presence.name}")
    shutil.rmtree(scratch, ignore_errors=True)
    claims = start_claims()

    waits = WaitFile(place.folder, "" if driver.presence is None else driver.presence.name)
    silence = Silence(60 * driver.base.resources.wait_minutes)

    def note(line: str) -> None:
        driver.listeners.note(line)

    def heard(waiting: list[WaitingProcess], life: Mapping[str, float]) -> None:
        """Tell `status` what is waited for; end the process of a trial that is silent: Tune starts it again."""
        for trial, seconds in silence.of(searcher.live, life):
            if end_process(claims, trial):
                note(f"{trial} has not been heard of for {seconds / 60:.0f} minutes: its process was ended")
        what = "room for its process, and its start"
        starting = [WaitingProcess(trial, "it", what, since) for trial, since in silence.unheard()]
        waits.write([*waiting, *starting])

    def live(trial: str) -> bool:
        return trial in searcher.live

    def free(trial: str) -> None:
        reclaim(claims, trial)

    trainable = tune.with_resources(
        tune.with_parameters(TrialRunner, claims=claims, storage_path=place.below(layout.TRIALS), trainer=trainer),
        {"CPU": 0, "memory": TRIAL_MEMORY},
    )

    def watch(live: int) -> None:
        """Count the use; at a limit stop such that a larger budget can continue."""
        if driver.meter is None:
            return
        try:
            driver.meter.tick(live)
        except Exception as error:
            line = "what the search used could not be recorded; it goes on (%s)"
            logger.warning(line, lost(error) or error, exc_info=not lost(error))
        if driver.spent and not ending:
            ending.append(driver.spent)
            note(f"{driver.spent}: the search ends; running trials keep their last checkpoint")
            end_softly()

    ending: list[str] = []
    newest: dict[str, int] = {}

    class Events(tune.Callback):
        def setup(self, *arguments: Any, **info: Any) -> None:
            arm()

        def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
            watch(sum(trial.status == trial.RUNNING for trial in trials))

        def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
            if result[names.EPOCH] > newest.get(trial.config["trial"], 0):
                newest[trial.config["trial"]] = result[names.EPOCH]
                trial.run_metadata.num_failures = 0  # losses are counted from one epoch to the next
                silence.heard(trial.config["trial"])

        def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            free(trial.config["trial"])
            driver.listeners.note(f"{trial.config['trial']} lost its process and is started again")

    stopping: list[int] = []  # Tune pickles the searcher, so it is no Event
    searcher = StudySearcher(driver, slots, free, lambda: bool(stopping))
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=StudyScheduler(driver),
            num_samples=-1,  # the searcher says when it is done
            reuse_actors=True,
            trial_name_creator=lambda trial: trial.config["trial"],
            trial_dirname_creator=lambda trial: trial.config["trial"],
        ),
        run_config=tune.RunConfig(
            name="run",
            storage_path=str(scratch),
            verbose=0,
            callbacks=[Events()],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # trainings write theirs
            # The trial's own process; a training's failure is an outcome, not a failure of the trial.
            failure_config=tune.FailureConfig(max_failures=RESTARTS),
        ),
    )

    again = f"u2pl-ray resume {shlex.quote(place.location)}"
    with (
        stop_softly(note, stopping) as arm,
        hear_progress(note, heard, live),
        watch_head(again),
    ):
        try:
            tuner.fit()
        finally:
            for trial in searcher.live:  # interrupted
                free(trial)
            if driver.meter is not None:
                with suppress(Exception):  # an unsaved use of some seconds must not end the search with an error
                    driver.meter.save()
    shutil.rmtree(scratch, ignore_errors=True)
    if searcher.error is not None:
        if why := lost(searcher.error):
            return f"{LOST}: {why}"
        return f"the study could not be read or written: {searcher.error}"
    return driver.spent or (INTERRUPTED if driver.left() else "")
