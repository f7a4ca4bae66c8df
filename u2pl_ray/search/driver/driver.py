"""The driver: decide which trial runs next and what follows from its reports, and record both. Without Ray.

Every epoch is written to the trial's `epochs.jsonl` first and to the study next; then the scheduler decides. The steps
that a kill prevented are repeated from `epochs.jsonl` when the search continues, with the same result.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from u2pl_ray.config import overrides
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.assignment import Assignment, Outcome
from u2pl_ray.search.driver.budget import Meter
from u2pl_ray.search.driver.configurations import Configurations
from u2pl_ray.search.driver.decisions import Decisions
from u2pl_ray.search.driver.exploration import Exploration
from u2pl_ray.search.driver.presence import Presence
from u2pl_ray.search.driver.rounds import Rounds, left
from u2pl_ray.search.listeners.base import Listeners
from u2pl_ray.search.storage import layout
from u2pl_ray.search.study.allowance import Allowance
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.study.trial_file import TrialFile
from u2pl_ray.search.study.trial_record import PAPER, RETRYABLE, State, TrialRecord, trial_id
from u2pl_ray.search.trials.copies import inherit
from u2pl_ray.search.trials.forks import Forks
from u2pl_ray.search.trials.trial_images import store_images
from u2pl_ray.search.trials.warmups import Warmups, few_warmups
from u2pl_ray.system.atomic import write_whole


class Driver:
    """Driver of a study: starts trials and handles their reports.

    Args:
        study: the trials.
        base: configuration the trials start from.
        trials: how many trials the study shall hold in all, None for no limit; combinations found invalid before they
            start do not count.
        folder: `trials/` of the experiment.
        listeners: receive every event.
        commit: stores the written files; called before the driver acts on them.
        allowance: what may be spent in trainings; None: no limit, and no replicates.
        held: raises if another driver has taken the experiment over; called before anything is written.

    Attributes:
        rounds: replicates of the leaders, once exploring has ended.
        meter: counts hours, device-hours and patience, if the search has such limits.
        presence: tells which other drivers live, if there can be several.
    """

    def __init__(
        self,
        study: TrialStudy,
        base: Config,
        trials: int | None,
        folder: Path,
        listeners: Listeners | None = None,
        commit: Callable[[], None] = lambda: None,
        allowance: Allowance | None = None,
        held: Callable[[], None] = lambda: None,
    ) -> None:
        self.study, self.base, self.trials, self.folder = study, base, trials, folder
        self.rounds = Rounds(study, base, allowance or Allowance(base.train.epochs))
        self.listeners = listeners or Listeners()
        self._commit, self._held = commit, held
        self.forks = Forks(study, base, trials or 0, folder)
        shared = self.forks.pruner is None and trials != 1 and few_warmups(study.space.distributions)
        self.warmups = Warmups(folder, share=shared)
        self._configurations = Configurations(study.space, base)
        self._exploration = Exploration(study, trials, self._configurations, self.rounds, self.listeners)
        self._decisions = Decisions(study, self._configurations, folder, self.rounds, self.forks, self.warmups)
        self.meter: Meter | None = None
        self.presence: Presence | None = None
        self._interrupted = [record.number for record in study.all_records() if record.state == State.RUNNING]

    def __getstate__(self) -> dict[str, Any]:
        """Return an empty state: Tune pickles its searcher into a snapshot that is never used."""
        return {}

    @property
    def spent(self) -> str:
        """Describe which limit of the budget is reached; an empty string if none is."""
        return self.meter.spent if self.meter is not None else ""

    @property
    def given_up(self) -> str:
        """Describe why no further setting is tried although some are left; an empty string while one may be."""
        return self._exploration.given_up

    def use(self, meter: Meter) -> None:
        """Observe the limits of `meter` from now on."""
        self.meter = meter
        meter.tick(0)
        meter.look(self.study)

    def share(self, presence: Presence) -> None:
        """Leave the trials of living drivers to them; trials of dead drivers count as interrupted from now on."""
        self.presence, self.study.driver = presence, presence.name

    def next(self) -> Assignment | None:
        """Return the next trial to run, in this order: interrupted, queued, new, replicates; None if there is none."""
        with self.study.exclusively():
            return self._next()

    def _next(self) -> Assignment | None:
        while not self.spent:
            self._held()
            if interrupted := self.interrupted():
                record = self._take_up(interrupted[0])
            elif self._exploration.hopeless():
                return None
            else:
                started = self.study.start_queued() or self.forks.start()
                started = started or self._exploration.start(self.meter) or self._replicate()
                if started is None:
                    return None
                record = self._introduce(started)
                if started.retries is not None or record.inherited:
                    record = self._catch_up(record, introduced=True)
                if started.fork is not None:
                    for metrics in self._decisions.log(record).epochs:
                        self.listeners.epoch_known(record, metrics)
            if record.state == State.RUNNING:
                self._commit()
                start = layout.START if (self.folder / record.id / layout.START).exists() else None
                return Assignment(record.id, self.config(record), len(self._decisions.log(record).epochs), start)
        return None

    @property
    def may_go_on(self) -> bool:
        """Return whether there can be another trial once a running one has ended, though `next` has none now."""
        return not self.spent and not self._exploration.at_fault and self.rounds.allowance.limited

    def interrupted(self) -> list[int]:
        """Return the numbers of trials marked RUNNING in the study that no live driver owns."""
        if self.presence is None:
            return self._interrupted
        return [record.number for record in self.presence.others() if self.presence.dead(record.driver)]

    def waits(self) -> bool:
        """Return whether other drivers run trials, which this one would continue if they died."""
        return self.presence is not None and bool(self.presence.others())

    def _mine(self, record: TrialRecord) -> bool:
        return self.presence is None or record.driver == self.presence.name

    def _take_up(self, number: int) -> TrialRecord:
        if self.presence is None:
            self._interrupted.remove(number)
        self.study.take(number)
        self._decisions.forget(number)
        return self._catch_up(self.study.complete_proposal(number))

    def report(self, trial: str, metrics: Mapping[str, Any]) -> bool:
        """Record an epoch's metrics; return whether to stop the trial. An epoch recorded before is ignored.

        Args:
            trial: its id.
            metrics: of the epoch.
        """
        self._held()
        record = self.study.record(int(trial))
        if not self._mine(record):  # another driver took over the trial, as this one did not count for too long
            return True
        metrics = store_images(self.folder / record.id, metrics)
        if record.state == State.RUNNING and self._decisions.log(record).append(metrics):
            record = self._decisions.account(record)
            self._commit()
            self.listeners.epoch_done(record, metrics, self.study.best())
            self._announce_end(record)
        return record.state.finished and record.state != State.COMPLETED

    def finish(self, trial: str, outcome: Outcome) -> None:
        """Record a training's end; nothing happens if the trial has ended before.

        Args:
            trial: its id.
            outcome: how it ended.
        """
        self._held()
        record = self.study.record(int(trial))
        if record.state != State.RUNNING or not self._mine(record):
            return
        self._decisions.log(record).write()
        record = self._decisions.account(record)
        if record.state == State.RUNNING:
            if outcome.reason == "refused" and not self.study.space.blamed(outcome.detail):
                outcome = replace(outcome, state=State.FAILED, reason="environment")
            if outcome.state == State.COMPLETED:
                detail = f"ended after {record.epochs} of {self.config(record).train.epochs} epochs"
                outcome = Outcome(State.FAILED, "error", detail)
            self.study.fail(record.number, outcome.reason, outcome.detail)
            record = self.study.record(record.number)
        self._commit()
        self._announce_end(record)

    def unfinished(self) -> int:
        """Trials still to be run or finished; without a limit there is always one more."""
        return left(self.study, self.trials, self.forks, self.rounds)

    def retry_errored(self, reasons: Sequence[str] = RETRYABLE) -> list[str]:
        """Queue a repetition of every trial that failed for one of `reasons`; return the failed trials' ids.

        Trials that diverged or ran out of memory are not repeated. The failed trial stays as it is. The new one
        continues from its last checkpoint, and counts in its place.
        """
        records = self.study.all_records()
        again = {record.retries for record in records}
        broken = [
            record
            for record in records
            if record.state == State.FAILED and record.reason in reasons and record.number not in again
        ]
        for record in broken:
            kept = record.companion is not None or record.note == PAPER
            note = record.note if kept else f"retry of {record.id}"
            self.study.enqueue(record.params, note, record.number, record.companion)
        return [record.id for record in broken]

    def left(self) -> int:
        """Return how many trials are still to be run or finished by this driver, if no other driver dies."""
        return self.unfinished() - (0 if self.presence is None else len(self.presence.others()))

    def config(self, record: TrialRecord) -> Config:
        """Return the configuration of a trial.

        Raises:
            UserError: its settings are not valid, or no longer.
        """
        return self._configurations.of(record.settings)

    def _catch_up(self, record: TrialRecord, introduced: bool = False) -> TrialRecord:
        """Add epochs to the study that only `epochs.jsonl` has, and repeat the decisions that a kill prevented."""
        if not introduced:
            record = self._introduce(record)
        if record.state == State.RUNNING and record.reason:
            self.study.fail(record.number, record.reason, record.detail)
            record = self.study.record(record.number)
        for metrics in self._decisions.log(record).epochs:
            self.listeners.epoch_known(record, metrics)
        if record.state == State.RUNNING:
            record = self._decisions.account(record, again=True)
            self._announce_end(record)
        return record

    def _introduce(self, record: TrialRecord) -> TrialRecord:
        """Write the trial's configuration and report its start; mark it infeasible if its settings are not valid."""
        try:
            config = self.config(record)
        except UserError as error:
            self.study.fail(record.number, "invalid", str(error).removeprefix("config: "))
            return self.study.record(record.number)
        folder = self.folder / record.id
        if record.retries is not None:
            inherit(self.folder / trial_id(record.retries), folder)
        write_whole(folder / layout.CONFIG, overrides.dump(config))
        TrialFile.of(record).write(folder)
        try:
            self.forks.prepare(record, self._decisions.log(record))
            if epochs := self.warmups.prepare(record, config, self._decisions.log(record)):
                self.study.inherit(record.number, epochs)
                record = self.study.record(record.number)
        except UserError as error:
            self.study.fail(record.number, "error", str(error))
            return self.study.record(record.number)
        self.listeners.trial_started(record, config)
        return record

    def _announce_end(self, record: TrialRecord) -> None:
        if record.state.finished:
            self.forks.clean(record)
            TrialFile.of(record).write(self.folder / record.id)
            self.listeners.trial_finished(record)
            if self.meter is not None:
                self.meter.look(self.study)

    def _replicate(self) -> TrialRecord | None:
        """Start the next replicate; None if none is left, or none before what runs has ended."""
        return self.study.start_queued() if self.rounds.queue() else None
