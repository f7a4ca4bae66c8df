"""The study: which trials there are, what they reported, and how they ended. The one source of truth of a search.

An Optuna study, in a journal file by default. Every change is one appended line, so that a kill at any instant leaves
the state before or after it: a proposal enters the study whole, and telling a thing twice changes nothing.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, get_storage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from u2pl_ray.config.errors import UserError
from u2pl_ray.search.journal import Journal
from u2pl_ray.search.records import FORK, Fork, State, TrialRecord, trial_id
from u2pl_ray.search.samplers import SamplerChoice
from u2pl_ray.search.space import Space

_INFEASIBLE = ("memory", "refused", "invalid")
_FIXED = "fixed_params"  # where Optuna keeps the settings of a queued trial


class TrialStudy:
    """Trials of one experiment, by number.

    Args:
        study: the Optuna study.
        space: what is searched.
        sampler: what proposes.
        pruner: what stops trials early.
    """

    def __init__(
        self, study: optuna.Study, space: Space, sampler: SamplerChoice, pruner: optuna.pruners.BasePruner
    ) -> None:
        self.study, self.space, self.sampler, self.pruner = study, space, sampler, pruner
        study.sampler = sampler.build(0)  # some samplers note things when a trial ends

    @classmethod
    def create(
        cls,
        location: Path | str,
        name: str,
        space: Space,
        sampler: SamplerChoice,
        pruner: optuna.pruners.BasePruner,
    ) -> "TrialStudy":
        """A new study called `name` in a journal file or an Optuna storage URL.

        Raises:
            UserError: the name is taken in that storage.
        """
        direction = StudyDirection.MAXIMIZE if space.metric.maximize else StudyDirection.MINIMIZE
        try:
            study = optuna.create_study(storage=_storage(location), study_name=name, direction=direction, pruner=pruner)
        except optuna.exceptions.DuplicatedStudyError:
            raise UserError(f"study {name!r} exists already in this storage: choose another name, or resume") from None
        return cls(study, space, sampler, pruner)

    @classmethod
    def open(
        cls,
        location: Path | str,
        name: str,
        space: Space,
        sampler: SamplerChoice,
        pruner: optuna.pruners.BasePruner,
    ) -> "TrialStudy":
        """The existing study.

        Raises:
            UserError: there is none.
        """
        if isinstance(location, Path) and not location.exists():
            raise UserError(f"{location}: the study is gone; the trials' epochs.jsonl files still hold their metrics")
        try:
            study = optuna.load_study(study_name=name, storage=_storage(location), pruner=pruner)
        except KeyError:
            raise UserError(f"{location}: holds no study {name!r}") from None
        return cls(study, space, sampler, pruner)

    def enqueue(self, values: Mapping[str, Any], note: str) -> None:
        """Queue a trial with given settings; `note` says where they come from."""
        self.study.enqueue_trial(self.space.encode(values), user_attrs={"note": note})

    def start_queued(self) -> TrialRecord | None:
        """Turn the oldest queued trial into a running one; None if none is queued."""
        for trial in self._trials(TrialState.WAITING):
            if self._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
                return self.complete_proposal(trial.number)
        return None

    def complete_proposal(self, number: int) -> TrialRecord:
        """Give a running trial the settings it lacks: all of a queued one's, or what a kill left out."""
        trial = self._trial(number)
        missing = [path for path in self.space.parameters if path not in trial.params]
        if missing:
            fixed = {**trial.system_attrs.get(_FIXED, {}), **trial.params}
            proposal = self.propose(number, fixed)
            for path in missing:
                distribution = proposal.distributions[path]
                internal = distribution.to_internal_repr(proposal.params[path])
                self._storage.set_trial_param(trial._trial_id, path, internal, distribution)
        return self.record(number)

    def propose(self, number: int, fixed: Mapping[str, Any] | None = None) -> FrozenTrial:
        """What trial `number` would be: a function of the seed, the number, and the study's other trials.

        Asked of a copy of the study in memory, which shows the sampler what to keep away from; nothing is written.
        """
        sampler = self.sampler.build(number)
        copy = optuna.create_study(direction=self.study.direction, sampler=sampler, pruner=optuna.pruners.NopPruner())
        others = [trial for trial in self._trials() if trial.number != number and trial.state != TrialState.WAITING]
        copy.add_trials(_with_warnings(others))
        if fixed:
            copy.enqueue_trial(dict(fixed))
        asked = copy.ask(self.space.distributions)
        frozen = copy.trials[asked.number]
        for path, parameter in self.space.parameters.items():
            if path not in (fixed or {}):
                frozen.params[path] = parameter.snap(frozen.params[path])
        return frozen

    def start_new(self, judge: Callable[[dict[str, Any]], str] = lambda settings: "") -> TrialRecord:
        """Propose a trial and enter it, in one step: as running, or as infeasible if `judge(settings)` objects.

        An infeasible one is in the study so that the next proposal is another.
        """
        proposal = self.propose(len(self._trials()))
        objection = judge(self.space.decode(proposal.params))
        if objection:
            return self._enter(proposal, TrialState.FAIL, {"reason": "invalid", "detail": objection})
        return self._enter(proposal, TrialState.RUNNING, {})

    def start_fork(self, fork: Fork, stored: Mapping[str, Any]) -> TrialRecord:
        """Enter a running trial that goes on with its parent's training, under its own settings (as stored)."""
        parent = self._trial(fork.parent)
        values = {epoch: value for epoch, value in parent.intermediate_values.items() if epoch <= fork.epoch}
        proposal = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=dict(stored),
            distributions=parent.distributions,
            intermediate_values=values,
        )
        note = f"fork of {trial_id(fork.parent)} after epoch {fork.epoch}"
        return self._enter(proposal, TrialState.RUNNING, {FORK: list(fork), "note": note})

    def report(self, number: int, epoch: int, value: float) -> None:
        """Note the objective after `epoch` epochs; a second time changes nothing."""
        trial = self._trial(number)
        if trial.state == TrialState.RUNNING and epoch not in trial.intermediate_values:
            self._storage.set_trial_intermediate_value(trial._trial_id, epoch, value)

    def should_stop(self, number: int) -> bool:
        """Whether the scheduler stops this trial after what it reported so far."""
        return self.pruner.prune(self.study, self._trial(number))

    def complete(self, number: int) -> None:
        """The trial reached its end; its value is the latest it reported."""
        trial = self._trial(number)
        if trial.state == TrialState.RUNNING and trial.last_step is not None:
            self.study.tell(number, trial.intermediate_values[trial.last_step])

    def stop(self, number: int) -> None:
        """The scheduler stopped the trial: PRUNED in Optuna's terms, with its intermediate values."""
        if self._trial(number).state == TrialState.RUNNING:
            self.study.tell(number, state=TrialState.PRUNED)

    def fail(self, number: int, reason: str, detail: str = "") -> None:
        """The trial failed (`reason` nan, error, lost) or is infeasible (memory, refused, invalid)."""
        trial = self._trial(number)
        if trial.state == TrialState.RUNNING:
            # The reason first: a finished trial takes no more notes.
            self._storage.set_trial_user_attr(trial._trial_id, "detail", detail)
            self._storage.set_trial_user_attr(trial._trial_id, "reason", reason)
            self.study.tell(number, state=TrialState.FAIL)

    def record(self, number: int) -> TrialRecord:
        """The trial with this number."""
        return self._record(self._trial(number))

    def records(self) -> list[TrialRecord]:
        """All trials, in the order of their creation."""
        return [self._record(trial) for trial in self._trials()]

    def best(self) -> TrialRecord | None:
        """The best completed trial; if none is complete, the best of those that have reported a value."""
        records = [record for record in self.records() if record.latest is not None and math.isfinite(record.latest)]
        pool = [record for record in records if record.state == State.COMPLETED] or records
        sign = 1 if self.space.metric.maximize else -1
        return max(pool, key=lambda record: sign * (record.latest or 0.0), default=None)

    @property
    def _storage(self) -> BaseStorage:
        return self.study._storage

    def _trial(self, number: int) -> FrozenTrial:
        storage = self._storage
        return storage.get_trial(storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number))

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)

    def _enter(self, proposal: FrozenTrial, state: TrialState, notes: Mapping[str, Any]) -> TrialRecord:
        trial = optuna.trial.create_trial(
            state=state,
            params=proposal.params,
            distributions=proposal.distributions,
            user_attrs=dict(notes),
            system_attrs=proposal.system_attrs,
            intermediate_values=proposal.intermediate_values,
        )
        identifier = self._storage.create_new_trial(self.study._study_id, template_trial=trial)
        return self._record(self._storage.get_trial(identifier))

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        reason = trial.user_attrs.get("reason", "")
        stored = trial.params or trial.system_attrs.get(_FIXED, {})
        return TrialRecord(
            id=trial_id(trial.number),
            number=trial.number,
            state=_state(trial.state, reason),
            params=self.space.decode(stored),
            values=dict(sorted(trial.intermediate_values.items())),
            value=trial.value,
            reason=reason,
            detail=trial.user_attrs.get("detail", ""),
            note=trial.user_attrs.get("note", ""),
            fork=Fork(*trial.user_attrs[FORK]) if FORK in trial.user_attrs else None,
            started=trial.datetime_start,
            finished=trial.datetime_complete,
        )


def _with_warnings(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """The trials, with those that failed by their settings' fault turned into ones that violate a constraint.

    Samplers pass over failed trials, and would propose the like again.
    """
    to_blame = [trial for trial in trials if trial.user_attrs.get("reason") in (*_INFEASIBLE, "nan")]
    useful = sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)
    # TPE takes the best tenth for good ones: there must be enough others to fill it.
    shown = {trial.number for trial in to_blame[max(0, len(to_blame) - 9 * useful) :]}
    return [
        optuna.trial.create_trial(
            state=TrialState.PRUNED,
            params=trial.params,
            distributions=trial.distributions,
            constraints={"feasible": 1.0},
        )
        if trial.number in shown
        else trial
        for trial in trials
    ]


def _state(state: TrialState, reason: str) -> State:
    if state == TrialState.FAIL:
        return State.INFEASIBLE if reason in _INFEASIBLE else State.FAILED
    return {
        TrialState.WAITING: State.PENDING,
        TrialState.RUNNING: State.RUNNING,
        TrialState.COMPLETE: State.COMPLETED,
        TrialState.PRUNED: State.STOPPED,
    }[state]


def _storage(location: Path | str) -> BaseStorage:
    """A journal file, or whatever an Optuna storage URL names."""
    return get_storage(location) if isinstance(location, str) else JournalStorage(Journal(location))
