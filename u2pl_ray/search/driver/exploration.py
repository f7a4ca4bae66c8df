"""New settings of a search: whether there shall be another one, and which."""

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from u2pl_ray.search.driver.budget import Meter
from u2pl_ray.search.driver.configurations import Configurations, valid_settings
from u2pl_ray.search.driver.rounds import Rounds
from u2pl_ray.search.listeners.base import Listeners
from u2pl_ray.search.samplers.registry import trial_seed
from u2pl_ray.search.study.remaining import counted
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.study.trial_record import RETRYABLE, State, TrialRecord

_INVALID_IN_A_ROW = 100
_HOPELESS = 3
_NONE_BEGAN = 10
"""Errors in a row before an epoch, whatever they say: the text may hold a process's number."""


class Exploration:
    """Trials of new settings, until their number or the budget is used, or the setup proves to be at fault.

    Args:
        study: the trials.
        trials: how many the study shall hold in all, None for no limit; invalid proposals do not count.
        configurations: of the trials.
        rounds: replicates, for which a part of the budget is kept.
        listeners: hear why exploring ends.

    Attributes:
        given_up: why no further setting is tried, or no further trial starts, in words; empty while one may.
        at_fault: whether the setup is, so that replicates do not start either.
    """

    def __init__(
        self,
        study: TrialStudy,
        trials: int | None,
        configurations: Configurations,
        rounds: Rounds,
        listeners: Listeners,
    ) -> None:
        self._study, self._trials, self._rounds = study, trials, rounds
        self._configurations, self._listeners = configurations, listeners
        self.given_up, self.at_fault = "", False

    def start(self, meter: Meter | None) -> TrialRecord | None:
        """Start a new proposal that is valid and not known to be infeasible; None if no trial is left.

        Args:
            meter: of the budget, if the search has limits beside its number of trials.
        """
        records = self._study.records()
        if self._trials is not None and len(counted(records)) >= self._trials:
            return None
        if not self._goes_on(meter):
            return None
        if untried := self._untried(records):
            self._study.enqueue(untried[trial_seed(self._study.sampler.seed, len(records)) % len(untried)], "")
            return self._study.start_queued()
        tried = [record.params for record in records if record.state == State.INFEASIBLE]

        def objection(settings: dict[str, Any]) -> str:
            return "known to be infeasible" if settings in tried else self._configurations.objection(settings)

        for _ in range(_INVALID_IN_A_ROW):
            record = self._study.start_new(objection)
            if record.state == State.RUNNING:
                return record
            tried.append(record.params)
        self._give_up(f"{_INVALID_IN_A_ROW} proposals in a row were not valid, the last one: {record.detail}")
        self._goes_on(meter)
        return None

    def _untried(self, records: Sequence[TrialRecord]) -> list[dict[str, Any]]:
        """Return what is left of a space of a few settings, where a setting tried again would teach nothing."""
        if not self._rounds.allowance.limited or not self._few:
            return []
        tried = [record.params for record in records]
        return [settings for settings in self._few if settings not in tried]

    @cached_property
    def _few(self) -> list[dict[str, Any]]:
        return valid_settings(self._study.space, self._configurations)

    def hopeless(self) -> bool:
        """Tell whether the setup is at fault.

        All failed alike before an epoch, or the last ones all by environment, or more of them before an epoch by what a
        retry may mend.
        """
        ended = [record for record in counted(self._study.records()) if record.state.finished]
        causes = {(record.reason, record.detail) for record in ended if record.reason and not record.epochs}
        alike = len(causes) == 1 and not any(record.epochs for record in ended)
        if len(ended) >= _HOPELESS and alike:
            self._blame(f"the first {len(ended)} trials failed alike: {ended[0].detail or ended[0].reason}")
        ended.sort(key=lambda record: record.finished or datetime.min)
        latest = ended[-_HOPELESS:]
        if len(latest) == _HOPELESS and all(record.reason == "environment" for record in latest):
            self._blame(f"the last {_HOPELESS} trials failed for what is no setting: {latest[-1].detail}")
        latest = ended[-_NONE_BEGAN:]
        if len(latest) == _NONE_BEGAN and all(it.reason in RETRYABLE and not it.epochs for it in latest):
            why = latest[-1].detail or latest[-1].reason
            self._blame(f"the last {_NONE_BEGAN} trials failed before their first epoch, the last one: {why}")
        return self.at_fault

    def _goes_on(self, meter: Meter | None) -> bool:
        """Tell whether the budget has room for a new setting; what the clock decides is written to the study first."""
        share, stalled = (0.0, "") if meter is None else (meter.share, meter.stalled)
        why = self.given_up or stalled or f"{share:.0%} of the hours are used"
        if decided := self._rounds.end_exploring(share, bool(self.given_up or stalled)):
            if meter is not None:
                meter.save()
            self._listeners.note(f"{why}: {decided}")
        return not self.given_up and self._rounds.allowance.exploring(self._study.all_records())

    def _blame(self, why: str) -> None:
        self.at_fault = True
        self._give_up(why)

    def _give_up(self, why: str) -> None:
        if not self.given_up:
            self.given_up = why
            self._listeners.note(f"no further trials: {why}")
