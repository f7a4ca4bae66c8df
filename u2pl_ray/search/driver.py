"""The search's decisions and book-keeping: what runs next, what a report means, how a trial ended. Knows no Ray.

Every epoch goes to the trial's `epochs.jsonl` first and to the study next, then the scheduler decides. Whatever a kill
cuts off is redone from the former when the search continues, with the same result.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from u2pl_ray.config import metrics as names
from u2pl_ray.config import overrides
from u2pl_ray.config.errors import UserError, nearest
from u2pl_ray.config.schema import Config
from u2pl_ray.search.events import Listeners
from u2pl_ray.search.records import EpochLog, State, TrialRecord
from u2pl_ray.search.study import TrialStudy

_INVALID_IN_A_ROW = 100
_HOPELESS = 3


@dataclass(frozen=True)
class Assignment:
    """A trial to run: its id, its whole configuration, and the epochs whose metrics are on record."""

    trial: str
    config: Config
    reported_epochs: int


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes:
        state: COMPLETED, FAILED or INFEASIBLE.
        reason: nan, error, lost (FAILED); memory, refused, invalid (INFEASIBLE).
        detail: one line.
    """

    state: State
    reason: str = ""
    detail: str = ""


class Driver:
    """Runs a study: hands out trials, takes their reports.

    Args:
        study: the trials.
        base: configuration the trials start from.
        trials: how many trials the study shall hold in all; combinations found invalid before they start do not count.
        folder: `trials/` of the experiment.
        listeners: told of every event.
    """

    def __init__(
        self, study: TrialStudy, base: Config, trials: int, folder: Path, listeners: Listeners | None = None
    ) -> None:
        self.study, self.base, self.trials, self.folder = study, base, trials, folder
        self.listeners = listeners or Listeners()
        self.given_up = ""
        self._logs: dict[int, EpochLog] = {}
        self._interrupted = [record.number for record in study.records() if record.state == State.RUNNING]

    def next(self) -> Assignment | None:
        """The next trial to run: interrupted ones first, then queued ones, then new ones; None if there is none."""
        while self._interrupted:
            record = self._catch_up(self.study.complete_proposal(self._interrupted.pop(0)))
            if record.state == State.RUNNING:
                return self._assign(record)
        if self._hopeless():
            return None
        started = self.study.start_queued() or self._new()
        return None if started is None else self._assign(started)

    def report(self, trial: str, metrics: Mapping[str, Any]) -> bool:
        """Take an epoch's metrics; whether to stop the trial. Epochs on record already are passed over."""
        record = self.study.record(int(trial))
        if record.state != State.RUNNING:
            return record.state != State.COMPLETED
        if not self._log(record).append(metrics):
            return False
        record = self._account(record, metrics)
        self.listeners.tell("epoch_done", record, metrics, self._best_value())
        if record.state.finished:
            self.listeners.tell("trial_finished", record)
        return record.state.finished and record.state != State.COMPLETED

    def finish(self, trial: str, outcome: Outcome) -> None:
        """Take a training's end; nothing happens if the trial has an end already."""
        number = int(trial)
        record = self.study.record(number)
        if record.state != State.RUNNING:
            return
        if outcome.state == State.COMPLETED:
            # The last epoch's report tells the study; a training that ended before it did not do what it was asked.
            wanted = self._epochs(record)
            self.study.fail(number, "error", f"ended after {record.epochs} of {wanted} epochs")
        else:
            self.study.fail(number, outcome.reason, outcome.detail)
        self.listeners.tell("trial_finished", self.study.record(number))

    def unfinished(self) -> int:
        """Trials still to be run or finished."""
        records = [record for record in self.study.records() if record.reason != "invalid"]
        open_trials = sum(not record.state.finished for record in records)
        return open_trials + max(0, self.trials - len(records))

    def config(self, record: TrialRecord) -> Config:
        """The configuration of a trial."""
        return self.study.space.configure(self.base, record.params)

    def _catch_up(self, record: TrialRecord) -> TrialRecord:
        """Tell the study what was on disk but not in it, and take the decisions a kill prevented."""
        if record.reason:
            self.study.fail(record.number, record.reason, record.detail)
            return self.study.record(record.number)
        for metrics in self._log(record).epochs:
            if record.state == State.RUNNING and metrics[names.EPOCH] >= record.epochs:
                record = self._account(record, metrics)
        if record.state.finished:
            self.listeners.tell("trial_finished", record)
        return record

    def _account(self, record: TrialRecord, metrics: Mapping[str, Any]) -> TrialRecord:
        """Tell the study of an epoch and decide: goes on, complete, stopped, or failed."""
        study, number, epoch = self.study, record.number, metrics[names.EPOCH]
        objective = study.space.metric.name
        value = metrics.get(objective)
        if objective not in metrics:
            hint = nearest(objective, metrics)
            study.fail(number, "error", f"the objective {objective} is not among the metrics{hint}")
        elif not isinstance(value, int | float) or not math.isfinite(value):
            study.fail(number, "nan", f"{objective} is {value} after epoch {epoch}")
        else:
            study.report(number, epoch, float(value))
            if epoch >= self._epochs(record):
                study.complete(number)
            elif study.should_stop(number):
                study.stop(number)
        return study.record(number)

    def _assign(self, record: TrialRecord) -> Assignment | None:
        try:
            config = self.config(record)
        except UserError as error:
            self.finish(record.id, Outcome(State.INFEASIBLE, "invalid", str(error)))
            return self.next()
        log = self._log(record)
        path = log.path.with_name("config.yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(overrides.dump(config), "utf-8")
        partial.replace(path)
        self.listeners.tell("trial_started", record, config)
        return Assignment(record.id, config, len(log.epochs))

    def _new(self) -> TrialRecord | None:
        """A new proposal that is valid and not known to be infeasible; None if the trials are used up."""
        records = self.study.records()
        if sum(record.reason != "invalid" for record in records) >= self.trials:
            return None
        tried = [record.params for record in records if record.state == State.INFEASIBLE]

        def objection(settings: dict[str, Any]) -> str:
            if settings in tried:
                return "known to be infeasible"
            try:
                self.study.space.configure(self.base, settings)
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

    def _hopeless(self) -> bool:
        """Whether all that ran so far failed before its first epoch, for the same reason: the setup is at fault."""
        ended = [record for record in self.study.records() if record.state.finished and record.reason != "invalid"]
        causes = {(record.reason, record.detail) for record in ended if record.reason and not record.epochs}
        alike = len(causes) == 1 and not any(record.epochs for record in ended)
        if len(ended) >= _HOPELESS and alike:
            self._give_up(f"the first {len(ended)} trials failed alike: {ended[0].detail or ended[0].reason}")
            return True
        return bool(self.given_up)

    def _give_up(self, why: str) -> None:
        if not self.given_up:
            self.given_up = why
            self.listeners.tell("note", f"no further trials: {why}")

    def _epochs(self, record: TrialRecord) -> int:
        return self.config(record).train.epochs

    def _best_value(self) -> float | None:
        best = self.study.best()
        return None if best is None else best.latest

    def _log(self, record: TrialRecord) -> EpochLog:
        if record.number not in self._logs:
            self._logs[record.number] = EpochLog(self.folder / record.id / "epochs.jsonl")
        return self._logs[record.number]
