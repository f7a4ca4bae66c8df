"""The driver: decide which trial runs next and what follows from its reports, and record both. Without Ray.

Every epoch is written to the trial's `epochs.jsonl` first and to the study next; then the scheduler decides. The steps
that a kill prevented are repeated from `epochs.jsonl` when the search continues, with the same result.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from u2pl_ray.config import metrics as names
from u2pl_ray.config import overrides
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.budget import Meter
from u2pl_ray.search.driver.presence import Presence
from u2pl_ray.search.driver.rounds import Rounds, left
from u2pl_ray.search.listeners.base import Listeners
from u2pl_ray.search.storage import layout
from u2pl_ray.search.study.allowance import Allowance
from u2pl_ray.search.study.pareto import measured
from u2pl_ray.search.study.remaining import counted
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.study.trial_file import TrialFile
from u2pl_ray.search.study.trial_record import PAPER, RETRYABLE, State, TrialRecord, trial_id
from u2pl_ray.search.trials.copies import inherit
from u2pl_ray.search.trials.epoch_log import EpochLog
from u2pl_ray.search.trials.forks import Forks
from u2pl_ray.search.trials.trial_images import store_images
from u2pl_ray.search.trials.warmups import Warmups
from u2pl_ray.system.atomic import write_whole

_INVALID_IN_A_ROW = 100
_HOPELESS = 3


@dataclass(frozen=True)
class Assignment:
    """A trial to run.

    Attributes:
        trial: its id.
        config: its whole configuration.
        reported_epochs: number of epochs whose metrics are in `epochs.jsonl`.
        start: folder below the trial's with the checkpoint of another training that it continues, or None.
    """

    trial: str
    config: Config
    reported_epochs: int
    start: str | None = None


@dataclass(frozen=True)
class Outcome:
    """End of a training.

    Attributes:
        state: COMPLETED, FAILED or INFEASIBLE.
        reason: nan, error, lost, environment (FAILED); memory, refused, invalid (INFEASIBLE).
        detail: one line.
    """

    state: State
    reason: str = ""
    detail: str = ""


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
    ) -> None:
        self.study, self.base, self.trials, self.folder = study, base, trials, folder
        self.rounds = Rounds(study, base, allowance or Allowance(base.train.epochs))
        self.listeners = listeners or Listeners()
        self._commit = commit
        self.forks = Forks(study, base, trials or 0, folder)
        self.warmups = Warmups(folder, share=self.forks.pruner is None)
        self.given_up = ""
        self.meter: Meter | None = None
        self.presence: Presence | None = None
        self._logs: dict[int, EpochLog] = {}
        self._configs: dict[str, Config] = {}
        self._interrupted = [record.number for record in study.all_records() if record.state == State.RUNNING]

    def __getstate__(self) -> dict[str, Any]:
        """Return an empty state: Tune pickles its searcher into a snapshot that is never used."""
        return {}

    @property
    def spent(self) -> str:
        """Describe which limit of the budget is reached; an empty string if none is."""
        return self.meter.spent if self.meter is not None else ""

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
            if interrupted := self.interrupted():
                record = self._take_up(interrupted[0])
            elif self._hopeless():
                return None
            else:
                started = self.study.start_queued() or self.forks.start() or self._new() or self._replicate()
                if started is None:
                    return None
                record = self._introduce(started)
                if started.retries is not None or record.inherited:
                    record = self._catch_up(record, introduced=True)
                if started.fork is not None:
                    for metrics in self._log(record).epochs:
                        self.listeners.epoch_known(record, metrics)
            if record.state == State.RUNNING:
                self._commit()
                start = layout.START if (self.folder / record.id / layout.START).exists() else None
                return Assignment(record.id, self.config(record), len(self._log(record).epochs), start)
        return None

    @property
    def may_go_on(self) -> bool:
        """Return whether there can be another trial once a running one has ended, though `next` has none now."""
        return not self.spent and not self.given_up and self.rounds.allowance.limited

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
        self._logs.pop(number, None)  # another driver may have appended epochs meanwhile
        return self._catch_up(self.study.complete_proposal(number))

    def report(self, trial: str, metrics: Mapping[str, Any]) -> bool:
        """Record an epoch's metrics; return whether to stop the trial. An epoch recorded before is ignored.

        Args:
            trial: its id.
            metrics: of the epoch.
        """
        record = self.study.record(int(trial))
        if not self._mine(record):  # another driver took over the trial, as this one did not count for too long
            return True
        metrics = store_images(self.folder / record.id, metrics)
        if record.state == State.RUNNING and self._log(record).append(metrics):
            record = self._account(record)
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
        record = self.study.record(int(trial))
        if record.state != State.RUNNING or not self._mine(record):
            return
        self._log(record).write()
        record = self._account(record)
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
            note = record.note if record.companion is not None else f"retry of {record.id}"
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
        return self._configure(record.settings)

    def _configure(self, settings: Mapping[str, Any]) -> Config:
        """Build a proposal's configuration and cache it, so that each is validated once."""
        key = json.dumps(settings, sort_keys=True, default=str)
        if key not in self._configs:
            self._configs[key] = self.study.space.configure(self.base, settings)
        return self._configs[key]

    def _catch_up(self, record: TrialRecord, introduced: bool = False) -> TrialRecord:
        """Add epochs to the study that only `epochs.jsonl` has, and repeat the decisions that a kill prevented."""
        if not introduced:
            record = self._introduce(record)
        if record.state == State.RUNNING and record.reason:
            self.study.fail(record.number, record.reason, record.detail)
            record = self.study.record(record.number)
        for metrics in self._log(record).epochs:
            self.listeners.epoch_known(record, metrics)
        if record.state == State.RUNNING:
            record = self._account(record, again=True)
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
            self.forks.prepare(record, self._log(record))
            if epochs := self.warmups.prepare(record, config, self._log(record)):
                self.study.inherit(record.number, epochs)
                record = self.study.record(record.number)
        except UserError as error:
            self.study.fail(record.number, "error", str(error))
            return self.study.record(record.number)
        self.listeners.trial_started(record, config)
        return record

    def _account(self, record: TrialRecord, again: bool = False) -> TrialRecord:
        """Add the epochs that the study lacks, and decide about the trial after each.

        Args:
            record: the trial.
            again: decide about the latest epoch also if the study lacks none.
        """
        rows = self._log(record).epochs
        for metrics in rows:
            unknown = metrics[names.EPOCH] > record.epochs
            if record.state == State.RUNNING and (unknown or (again and metrics[names.EPOCH] == record.epochs)):
                record = self._decide(record, metrics, metrics is rows[-1])
        return record

    def _decide(self, record: TrialRecord, metrics: Mapping[str, Any], latest: bool) -> TrialRecord:
        """Decide after an epoch whether a trial goes on, is complete, is stopped, or has failed; write it to the study.

        Args:
            record: the trial.
            metrics: of the epoch.
            latest: whether it is the last recorded epoch. After an earlier one the trial is not stopped: the next epoch
                shows that it went on.
        """
        study, number, epoch = self.study, record.number, metrics[names.EPOCH]
        at_end = epoch >= self.config(record).train.epochs
        values, problem = measured(metrics, study.space.objectives if at_end else study.space.objectives[:1])
        if problem is not None:
            study.fail(number, *problem)
        else:
            study.report(number, epoch, values[0])
            if at_end:
                study.complete(number, values[1:])
            elif latest and not self._kept(record) and study.should_stop(number):
                study.stop(number)
            else:
                self.forks.keep(record, metrics)
                self.warmups.keep(record, self.config(record), metrics, self._log(record))
        return study.record(number)

    def _kept(self, record: TrialRecord) -> bool:
        """Tell whether no scheduler may stop it: others are compared with it on new seeds, at full length."""
        return record.note == PAPER and self.rounds.allowance.limited

    def _announce_end(self, record: TrialRecord) -> None:
        if record.state.finished:
            self.forks.clean(record)
            TrialFile.of(record).write(self.folder / record.id)
            self.listeners.trial_finished(record)
            if self.meter is not None:
                self.meter.look(self.study)

    def _new(self) -> TrialRecord | None:
        """Start a new proposal that is valid and not known to be infeasible; None if no trial is left."""
        records = self.study.records()
        if self.trials is not None and len(counted(records)) >= self.trials:
            return None
        if not self._exploring():
            return None
        tried = [record.params for record in records if record.state == State.INFEASIBLE]

        def objection(settings: dict[str, Any]) -> str:
            if settings in tried:
                return "known to be infeasible"
            try:
                self._configure(settings)
            except UserError as error:
                return str(error).removeprefix("config: ")
            return ""

        for _ in range(_INVALID_IN_A_ROW):
            record = self.study.start_new(objection)
            if record.state == State.RUNNING:
                return record
            tried.append(record.params)
        self._give_up(f"{_INVALID_IN_A_ROW} proposals in a row were not valid, the last one: {record.detail}")
        return None

    def _exploring(self) -> bool:
        """Tell whether the budget has room for a new setting; what the clock decides is written to the study first."""
        meter = self.meter
        if meter is not None and (decided := self.rounds.end_exploring(meter.share, bool(meter.stalled))):
            meter.save()
            why = meter.stalled or f"{meter.share:.0%} of the hours are used"
            self.listeners.note(f"{why}: {decided}")
        return self.rounds.allowance.exploring(self.study.all_records())

    def _replicate(self) -> TrialRecord | None:
        """Start the next replicate; None if none is left, or none before what runs has ended."""
        return self.study.start_queued() if self.rounds.queue() else None

    def _hopeless(self) -> bool:
        """Tell whether the setup is at fault: all failed alike before an epoch, or the last ones all by environment."""
        ended = [record for record in counted(self.study.records()) if record.state.finished]
        causes = {(record.reason, record.detail) for record in ended if record.reason and not record.epochs}
        alike = len(causes) == 1 and not any(record.epochs for record in ended)
        if len(ended) >= _HOPELESS and alike:
            self._give_up(f"the first {len(ended)} trials failed alike: {ended[0].detail or ended[0].reason}")
            return True
        latest = sorted(ended, key=lambda record: record.finished or datetime.min)[-_HOPELESS:]
        if len(latest) == _HOPELESS and all(record.reason == "environment" for record in latest):
            self._give_up(f"the last {_HOPELESS} trials failed for what is no setting: {latest[-1].detail}")
            return True
        return bool(self.given_up)

    def _give_up(self, why: str) -> None:
        if not self.given_up:
            self.given_up = why
            self.listeners.note(f"no further trials: {why}")

    def _log(self, record: TrialRecord) -> EpochLog:
        if record.number not in self._logs:
            self._logs[record.number] = EpochLog(self.folder / record.id / layout.EPOCHS)
        return self._logs[record.number]
