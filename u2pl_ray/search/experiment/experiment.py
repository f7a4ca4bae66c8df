"""Run an experiment, or continue it: a search with all that is needed for that, in one folder."""

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from u2pl_ray.config.errors import LostError
from u2pl_ray.search.cluster.capacity import Slots, devices
from u2pl_ray.search.cluster.connection import connect
from u2pl_ray.search.driver.budget import Meter
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.driver.presence import Presence
from u2pl_ray.search.execution.run import INTERRUPTED, LOST, run_tune
from u2pl_ray.search.execution.storage_watch import watch_storage
from u2pl_ray.search.experiment.repair import mend_study, restore_files
from u2pl_ray.search.experiment.stored import StoredExperiment
from u2pl_ray.search.listeners.base import Listener, Listeners
from u2pl_ray.search.storage import layout
from u2pl_ray.search.study.outage import lost, outage
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.study.trial_record import RETRYABLE, State, TrialRecord
from u2pl_ray.search.trials.retention import Keeper

_WAIT = 1.0
"""Seconds between two checks of other drivers."""


@dataclass(frozen=True)
class Summary:
    """Result of running a search.

    Attributes:
        trials: all trials and their companions, in the order of their creation.
        best: the best one, None if none has a value and did not fail.
        finished: whether no trial is left within the budget; else `resume` continues.
        noticed: whether to start it again: it was stopped on notice, or the storage did not answer.
        reason: why it ended before the last trial, if it did.
    """

    trials: list[TrialRecord]
    best: TrialRecord | None
    finished: bool
    reason: str = ""
    noticed: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether any trial of the search reached its end, or was stopped by the scheduler; companions are none."""
        ended = (State.COMPLETED, State.STOPPED)
        return any(trial.state in ended and trial.companion is None for trial in self.trials)


class Experiment(StoredExperiment):
    """A stored experiment that this process can run, on the Ray cluster, and repair."""

    def run(self, listeners: Sequence[Listener] = (), force: bool = False, retry_errored: bool = False) -> Summary:
        """Run the remaining trials on the Ray cluster, then write best.yaml.

        This also continues an interrupted search: running trials continue from their checkpoints.

        Args:
            listeners: receive every event, and are closed at the end.
            force: continue although the experiment's files were edited since the start.
            retry_errored: repeat trials that failed by an error, see `Driver.retry_errored`.

        Raises:
            UserError: another process runs this experiment, its files were edited, or a trial does not fit the cluster.
            LostError: the storage failed, or another driver has taken over; see also `watch_storage`.
        """
        with self._or_lost(outage):
            return self._run(Listeners(listeners), force, retry_errored)

    def _run(self, told: Listeners, force: bool, retry_errored: bool) -> Summary:
        """See `run`."""
        with self._session(told, force) as (study, presence):
            trials = self.folder / layout.TRIALS
            study.borrowed = self.borrowed_trainings()
            told.add(Keeper(study, self.place.below(layout.TRIALS), self.options.keep))
            driver = Driver(
                *(study, self.config, self.options.trials, trials, told, self.place.commit, self.allowance),
                held=self.place.check_held,
            )
            if presence is not None:
                driver.share(presence)
            again = driver.retry_errored(RETRYABLE if retry_errored else RETRYABLE[:1])
            if retry_errored or again:
                told.note(f"trials to run again: {', '.join(again) or 'none broke'}")
            reason = ""
            try:
                if driver.unfinished():
                    connect()
                    limit, autoscale = self.options.max_concurrent, self.options.autoscale
                    slots = Slots(self.config, limit, lambda line: told.note(line), autoscale)
                    driver.use(Meter(study, self.options.budget, devices(self.config, slots.gpu)))
                    reason = driver.spent or run_tune(driver, slots, self.place, self.options.trainer)
                    while not reason and driver.waits():  # to continue trials of a driver that dies
                        time.sleep(_WAIT)
                        if driver.interrupted():
                            reason = run_tune(driver, slots, self.place, self.options.trainer)
            finally:
                told.close()
            with self._or_lost(lost):  # all that is left is to store what came of it, or to say that it was not
                self.place.check_held()
                judgement = self.judgement(study)
                self.write_best(study, judgement)
                best = self.best(study, judgement)
        finished = bool(driver.spent) or not driver.unfinished()
        # What gave up would give up again.
        noticed = not finished and not driver.given_up and reason.startswith((INTERRUPTED, LOST))
        return Summary(study.all_records(), best, finished, driver.given_up or reason, noticed)

    @contextmanager
    def _or_lost(self, told: Callable[[BaseException], str]) -> Iterator[None]:
        """Within: raise a `LostError` of one line where the storage is at fault, so that the search is started again.

        Args:
            told: returns what an error says of the storage; an empty string for other errors, which stay as they are.
        """
        try:
            yield
        except LostError:
            raise
        except Exception as error:
            if not (why := told(error)):
                raise
            line = f"{self.place.location}: {why}: the search could not be stored to its end"
            raise LostError(f"{line}; go on with: u2pl-ray resume {self.argument}") from error

    def check_free(self) -> None:
        """Refuse to go on while another process runs the experiment, unless several may.

        Raises:
            UserError: naming the process.
        """
        if not self._shared and self.place.running():
            with self.place.session():
                pass

    def held(self) -> AbstractContextManager[None]:
        """Return a context in which this process alone runs the experiment, as `run` does, unless several may."""
        return nullcontext() if self._shared else self.place.session()

    @contextmanager
    def _session(self, told: Listeners, force: bool) -> Iterator[tuple[TrialStudy, Presence | None]]:
        """Hold the experiment while this process runs it, alone or as one of several drivers.

        Args:
            told: receive lines about repaired files.
            force: accept edited files.

        Yields:
            The study, and this driver's presence on a shared one (else None).
        """
        if self._shared:
            self._prepare(told, force)
            study = self.study()
            with Presence(study) as presence:
                yield study, presence
        else:
            again = f"u2pl-ray resume {shlex.quote(self.place.location)}"
            with self.place.session(), watch_storage(self.place, again):
                self._prepare(told, force)
                yield self.study(), None

    def repair(self, force: bool = False) -> list[str]:
        """Repair damaged files; return lines for the user about each repair.

        Args:
            force: accept files that were edited since the start.

        Raises:
            UserError: files were edited such that results would not be comparable.
        """
        notes = [*self.notes, *restore_files(self.folder, self.versions, force)]
        if not self.options.study_url:  # a database looks after itself, and other drivers may be at work
            notes += mend_study(self.folder, self.config, self._open_study, self.options.baselines)
        return notes

    def _prepare(self, told: Listeners, force: bool) -> None:
        for line in self.repair(force):
            told.note(line)
