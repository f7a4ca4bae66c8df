"""Read a study: its trials as plain records, the best, and the front. Nothing here writes."""

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from u2pl_ray.search.samplers.noisy_gp import FIXED
from u2pl_ray.search.samplers.visible_trials import INFEASIBLE
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study import pareto
from u2pl_ray.search.study.companion import COMPANION, Companion
from u2pl_ray.search.study.competing import Competing
from u2pl_ray.search.study.database import shared
from u2pl_ray.search.study.trial_record import FORK, Fork, State, TrialRecord, trial_id

INHERITED = "inherited"
"""User attribute of a trial: first epochs that it did not train itself."""


class StudyView:
    """Trials of one experiment, by number.

    Args:
        study: the Optuna study.
        space: what is searched.
    """

    def __init__(self, study: optuna.Study, space: Space) -> None:
        self._records: dict[int, tuple[FrozenTrial, TrialRecord]] = {}
        self.study, self.space = study, space

    @property
    def shared(self) -> bool:
        """Return whether several drivers can work on the study at once."""
        return shared(self._storage)

    @property
    def competing(self) -> Competing:
        """Return the study as schedulers see it: without companions."""
        return Competing(self.study)

    def record(self, number: int) -> TrialRecord:
        """Return the trial with this number."""
        return self._record(self._trial(number))

    def records(self) -> list[TrialRecord]:
        """Return the trials of the search, in the order of their creation."""
        return [record for record in self.all_records() if record.companion is None]

    def all_records(self) -> list[TrialRecord]:
        """Return the trials of the search and their companions, in the order of their creation."""
        return [self._record(trial) for trial in self._trials()]

    def best(self) -> TrialRecord | None:
        """Return the best completed trial; if none is complete, the best stopped or running one; else None.

        Never one that failed, whatever it reported before.
        """
        records = [record for record in self.records() if record.result is not None]
        pool = [record for record in records if record.state == State.COMPLETED] or records
        sign = 1 if self.space.metric.maximize else -1
        return max(pool, key=lambda record: sign * (record.result or 0.0), default=None)

    def front(self) -> list[TrialRecord]:
        """Return the Pareto front of the completed trials, sorted by the first objective, best first."""
        return pareto.front(self.records(), self.space.objectives)

    def better(self, one: TrialRecord, other: TrialRecord) -> bool:
        """Tell whether a completed trial is better than another in at least one objective.

        Args:
            one: the trial.
            other: the trial it is compared with.
        """
        return pareto.better(one, other, self.space.objectives)

    @property
    def _storage(self) -> BaseStorage:
        return self.study._storage

    def _trial(self, number: int) -> FrozenTrial:
        storage = self._storage
        return storage.get_trial(storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number))

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        """Return a trial as plain data; made once for each state of it, as Optuna's storages replace what changes."""
        known = self._records.get(trial.number)
        if known is None or known[0] is not trial:
            known = self._records[trial.number] = trial, self._read(trial)
        return known[1]

    def _read(self, trial: FrozenTrial) -> TrialRecord:
        reason = trial.user_attrs.get("reason", "")
        stored = trial.params or trial.system_attrs.get(FIXED, {})
        return TrialRecord(
            id=trial_id(trial.number),
            number=trial.number,
            state=_state(trial.state, reason),
            params=self.space.decode(stored),
            values=dict(sorted(trial.intermediate_values.items())),
            value=_value(trial),
            objectives=tuple(trial.values) if trial.state == TrialState.COMPLETE else (),
            reason=reason,
            detail=trial.user_attrs.get("detail", ""),
            note=trial.user_attrs.get("note", ""),
            fork=Fork(*trial.user_attrs[FORK]) if FORK in trial.user_attrs else None,
            driver=trial.user_attrs.get("driver", ""),
            companion=Companion.read(trial.user_attrs.get(COMPANION)),
            retries=trial.user_attrs.get("retries"),
            inherited=trial.user_attrs.get(INHERITED, 0),
            started=trial.datetime_start,
            finished=trial.datetime_complete,
        )


def _value(trial: FrozenTrial) -> float | None:
    """Return the first objective at the end; for a stopped trial of several objectives, its latest."""
    if trial.values:
        return trial.values[0]
    stopped = trial.state == TrialState.PRUNED and trial.last_step is not None
    return trial.intermediate_values[trial.last_step] if stopped and trial.last_step is not None else None


def _state(state: TrialState, reason: str) -> State:
    if state == TrialState.FAIL:
        return State.INFEASIBLE if reason in INFEASIBLE else State.FAILED
    return {
        TrialState.WAITING: State.PENDING,
        TrialState.RUNNING: State.RUNNING,
        TrialState.COMPLETE: State.COMPLETED,
        TrialState.PRUNED: State.STOPPED,
    }[state]
