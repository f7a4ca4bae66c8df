"""The study: which trials there are, what they reported, and how they ended. The one source of truth of a search.

An Optuna study, in a journal file by default. Every change is one appended line, so that a kill at any instant leaves
the state before or after it: a proposal enters the study whole, and telling a thing twice changes nothing.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from u2pl_ray.config.errors import UserError
from u2pl_ray.search.samplers.registry import SamplerChoice
from u2pl_ray.search.samplers.visible_trials import INFEASIBLE, shown
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study import pareto
from u2pl_ray.search.study.database import exclusively, open_storage, shared
from u2pl_ray.search.study.trial_file import TrialFile
from u2pl_ray.search.study.trial_record import FORK, Fork, State, TrialRecord, trial_id

_FIXED = "fixed_params"  # where Optuna keeps the settings of a queued trial


class TrialStudy:
    """Trials of one experiment, by number.

    Args:
        study: the Optuna study.
        space: what is searched.
        sampler: what proposes.
        pruner: what stops trials early.

    Attributes:
        driver: name of the driver that starts trials through this object, if there can be several.
        earlier: finished trials of other studies, which the sampler is told of beside this study's.
    """

    def __init__(self, study: optuna.Study, space: Space, sampler: SamplerChoice, pruner: BasePruner) -> None:
        self.driver = ""
        self.earlier: Sequence[FrozenTrial] = ()
        self.study, self.space, self.sampler, self.pruner = study, space, sampler, pruner
        study.sampler = sampler.build(0)  # some samplers note things when a trial ends

    @classmethod
    def create(
        cls, location: Path | str, name: str, space: Space, sampler: SamplerChoice, pruner: BasePruner
    ) -> "TrialStudy":
        """A new study called `name` in a journal file or an Optuna storage URL.

        Raises:
            UserError: the name is taken in that storage.
        """
        directions = [metric.goal for metric in space.objectives]
        try:
            study = optuna.create_study(
                storage=open_storage(location), study_name=name, directions=directions, pruner=pruner
            )
        except optuna.exceptions.DuplicatedStudyError:
            raise UserError(f"study {name!r} exists already in this storage: choose another name, or resume") from None
        return cls(study, space, sampler, pruner)

    @classmethod
    def open(
        cls, location: Path | str, name: str, space: Space, sampler: SamplerChoice, pruner: BasePruner
    ) -> "TrialStudy":
        """The existing study.

        Raises:
            UserError: there is none.
        """
        if isinstance(location, Path) and not location.exists():
            raise UserError(
                f"{location}: the study is gone; `u2pl-ray resume` makes it anew from the trials' own files"
            )
        try:
            study = optuna.load_study(study_name=name, storage=open_storage(location), pruner=pruner)
        except KeyError:
            raise UserError(f"{location}: holds no study {name!r}") from None
        return cls(study, space, sampler, pruner)

    def delete(self) -> None:
        """Remove the study from its storage: the experiment that it was made for could not be."""
        optuna.delete_study(study_name=self.study.study_name, storage=self._storage)

    def enqueue(self, values: Mapping[str, Any], note: str, retries: int | None = None) -> None:
        """Queue a trial with given settings; `note` says where they come from, `retries` which trial broke."""
        notes = {"note": note} if retries is None else {"note": note, "retries": retries}
        self.study.enqueue_trial(self.space.encode(values), user_attrs=notes)

    def adopt(self, file: TrialFile) -> TrialRecord:
        """Enter a trial that the study has lost, as a running one."""
        params = self.space.encode({path: file.params[path] for path in self.space.parameters if path in file.params})
        proposal = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=params,
            distributions={path: self.space.distributions[path] for path in params},
        )
        notes = {"note": file.note, "retries": file.retries, FORK: file.fork}
        return self._enter(
            proposal, TrialState.RUNNING, {name: value for name, value in notes.items() if value not in ("", None)}
        )

    def start_queued(self) -> TrialRecord | None:
        """Turn the oldest queued trial into a running one; None if none is queued."""
        for trial in self._trials(TrialState.WAITING):
            if self._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
                self.take(trial.number)
                return self.complete_proposal(trial.number)
        return None

    def take(self, number: int) -> None:
        """Note that the trial is this driver's from now on."""
        if self.driver:
            self._storage.set_trial_user_attr(self._trial(number)._trial_id, "driver", self.driver)

    @property
    def shared(self) -> bool:
        """Whether several drivers can work on the study at once."""
        return shared(self._storage)

    def exclusively(self) -> AbstractContextManager[None]:
        """Within: no other driver hands out trials of this study."""
        return exclusively(self._storage, self.study.study_name)

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
        copy = optuna.create_study(directions=self.study.directions, sampler=sampler, pruner=optuna.pruners.NopPruner())
        others = [*self.earlier, *(trial for trial in self._trials() if trial.number != number)]
        copy.add_trials(shown(others, self.space.distributions, self.sampler.name, self.study.directions))
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
        study = self.study if len(self.space.objectives) == 1 else pareto.FirstObjective(self.study)
        return self.pruner.prune(study, self._trial(number))  # type: ignore[arg-type]

    def complete(self, number: int, further: Sequence[float] = ()) -> None:
        """The trial reached its end; its value is the latest it reported, and `further` those of other objectives."""
        trial = self._trial(number)
        if trial.state == TrialState.RUNNING and trial.last_step is not None:
            self.study.tell(number, [trial.intermediate_values[trial.last_step], *further])

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

    def front(self) -> list[TrialRecord]:
        """The completed trials that no other beats in every objective (Pareto front), best first objective first."""
        return pareto.front(self.records(), self.space.objectives)

    def better(self, one: TrialRecord, other: TrialRecord) -> bool:
        """Whether a completed trial gains something over another; with several objectives, in any of them."""
        return pareto.better(one, other, self.space.objectives)

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
            user_attrs={**notes, **({"driver": self.driver} if self.driver else {})},
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
            value=_value(trial),
            objectives=tuple(trial.values) if trial.state == TrialState.COMPLETE else (),
            reason=reason,
            detail=trial.user_attrs.get("detail", ""),
            note=trial.user_attrs.get("note", ""),
            fork=Fork(*trial.user_attrs[FORK]) if FORK in trial.user_attrs else None,
            driver=trial.user_attrs.get("driver", ""),
            retries=trial.user_attrs.get("retries"),
            started=trial.datetime_start,
            finished=trial.datetime_complete,
        )


def _value(trial: FrozenTrial) -> float | None:
    """The first objective at the end; for a stopped trial of several objectives, its latest."""
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
