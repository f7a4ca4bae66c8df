"""The study: all trials, their reported values, and how they ended. The one source of truth of a search.

It is an Optuna study, by default in a journal file. Every change is one appended line, so that a kill leaves
the state before or after it: a proposal is written as a whole, and a repeated write changes nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from u2pl_ray.config.errors import UserError
from u2pl_ray.search.samplers.noisy_gp import FIXED
from u2pl_ray.search.samplers.registry import SamplerChoice
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study.borrowed import BorrowedTraining
from u2pl_ray.search.study.companion import COMPANION, Companion
from u2pl_ray.search.study.competing import competing
from u2pl_ray.search.study.database import exclusively, open_storage
from u2pl_ray.search.study.journal import open_journal
from u2pl_ray.search.study.proposal import propose
from u2pl_ray.search.study.trial_file import TrialFile
from u2pl_ray.search.study.trial_record import FORK, Fork, TrialRecord, trial_id
from u2pl_ray.search.study.view import INHERITED, StudyView


class TrialStudy(StudyView):
    """Trials of one experiment, by number, and every change to them.

    Args:
        study: the Optuna study.
        space: what is searched.
        sampler: proposes settings.
        pruner: stops trials early.

    Attributes:
        driver: name of the driver that starts trials through this object, if there can be several.
        earlier: finished trials of other studies, which the sampler sees beside this study's.
        borrowed: trainings of other experiments that count for the answer.
    """

    def __init__(self, study: optuna.Study, space: Space, sampler: SamplerChoice, pruner: BasePruner) -> None:
        self.driver = ""
        self.earlier: Sequence[FrozenTrial] = ()
        self.borrowed: Sequence[BorrowedTraining] = ()
        super().__init__(study, space)
        self.sampler, self.pruner = sampler, pruner
        study.sampler = sampler.build(0)  # some samplers write attributes when a trial ends

    @classmethod
    def create(
        cls, location: Path | str, name: str, space: Space, sampler: SamplerChoice, pruner: BasePruner
    ) -> "TrialStudy":
        """Create a study.

        Args:
            location: journal file, or URL of a database.
            name: of the study in that storage.
            space: the parameters and objectives.
            sampler: proposes settings.
            pruner: stops trials early.

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
        cls,
        location: Path | str,
        name: str,
        space: Space,
        sampler: SamplerChoice,
        pruner: BasePruner,
        resume: str = "u2pl-ray resume",
    ) -> "TrialStudy":
        """Open an existing study.

        Args:
            location: journal file, or URL of a database.
            name: of the study in that storage.
            space: the parameters and objectives.
            sampler: proposes settings.
            pruner: stops trials early.
            resume: the command that restores a journal, for messages.

        Raises:
            UserError: there is none, or it is damaged.
        """
        storage = open_storage(location) if isinstance(location, str) else open_journal(location, resume)
        try:
            study = optuna.load_study(study_name=name, storage=storage, pruner=pruner)
        except KeyError:
            raise UserError(f"{location}: holds no study {name!r}") from None
        return cls(study, space, sampler, pruner)

    def delete(self) -> None:
        """Remove the study from its storage; used when the rest of its experiment could not be created."""
        optuna.delete_study(study_name=self.study.study_name, storage=self._storage)

    def enqueue(
        self, values: Mapping[str, Any], note: str, retries: int | None = None, companion: Companion | None = None
    ) -> None:
        """Queue a trial with given settings.

        Args:
            values: settings by dotted path; the sampler proposes missing ones, but not a companion's.
            note: where they come from, such as "paper".
            retries: number of the failed trial that this one repeats; None: it repeats none.
            companion: what it is for, if it is no trial of the search.
        """
        notes: dict[str, Any] = {"note": note}
        if retries is not None:
            notes["retries"] = retries
        if companion is not None:
            notes[COMPANION] = companion.as_data()
        # What is trained again may be of a time when the ranges were others.
        again = retries is not None or (companion is not None and companion.of is not None)
        space = self.space.around(values) if again else self.space
        self.study.enqueue_trial(space.encode(values), user_attrs=notes)

    def adopt(self, file: TrialFile) -> TrialRecord:
        """Add a trial from its file, as a running one: the study has lost it."""
        values = {path: file.params[path] for path in self.space.parameters if path in file.params}
        space = self.space.around(values)
        params = space.encode(values)
        proposal = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=params,
            distributions={path: space.distributions[path] for path in params},
        )
        notes = {"note": file.note, "retries": file.retries, FORK: file.fork, COMPANION: file.companion}
        notes |= {INHERITED: file.inherited or None}
        return self._enter(
            proposal, TrialState.RUNNING, {name: value for name, value in notes.items() if value not in ("", None)}
        )

    def start_queued(self) -> TrialRecord | None:
        """Mark the oldest queued trial as running and return it; None if none is queued."""
        for trial in self._trials(TrialState.WAITING):
            if self._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
                self.take(trial.number)
                return self.complete_proposal(trial.number)
        return None

    def inherit(self, number: int, epochs: int) -> None:
        """Note that a running trial goes on from another one's first epochs.

        Args:
            number: of the trial.
            epochs: how many it does not train itself.
        """
        trial = self._trial(number)
        if trial.state == TrialState.RUNNING and trial.user_attrs.get(INHERITED) != epochs:
            self._storage.set_trial_user_attr(trial._trial_id, INHERITED, epochs)

    def take(self, number: int) -> None:
        """Write to the study that this driver runs the trial from now on."""
        if self.driver:
            self._storage.set_trial_user_attr(self._trial(number)._trial_id, "driver", self.driver)

    def exclusively(self) -> AbstractContextManager[None]:
        """Return a context in which no other driver starts trials of this study."""
        return exclusively(self._storage, self.study.study_name)

    def complete_proposal(self, number: int) -> TrialRecord:
        """Propose and store the settings that a running trial lacks, after it was queued or the driver was killed."""
        trial = self._trial(number)
        missing = [path for path in self.space.parameters if path not in trial.params]
        given = {path: value for path, value in trial.system_attrs.get(FIXED, {}).items() if path in missing}
        for path, parameter in self.space.around(self.space.decode(given)).parameters.items():
            if path in given:
                self._store(trial, path, given[path], parameter.distribution)
        missing = [path for path in missing if path not in given]
        if missing and COMPANION not in trial.user_attrs:
            proposal = self.propose(number, {**given, **trial.params})
            for path in missing:
                self._store(trial, path, proposal.params[path], proposal.distributions[path])
        return self.record(number)

    def _store(self, trial: FrozenTrial, path: str, value: Any, distribution: BaseDistribution) -> None:
        self._storage.set_trial_param(trial._trial_id, path, distribution.to_internal_repr(value), distribution)

    def propose(self, number: int, fixed: Mapping[str, Any] | None = None) -> FrozenTrial:
        """Propose settings for trial `number`: a function of the seed, the number, and the study's other trials.

        Nothing is written; companions are left out.

        Args:
            number: of the new trial.
            fixed: settings that are given, as the study stores them.
        """
        others = [*self.earlier, *(trial for trial in competing(self._trials()) if trial.number != number)]
        return propose(self.sampler, self.space, self.study.directions, others, number, fixed or {})

    def start_new(self, judge: Callable[[dict[str, Any]], str] = lambda settings: "") -> TrialRecord:
        """Propose a trial and add it to the study in one write.

        Args:
            judge: returns why settings are invalid, or an empty string. An invalid proposal is added as infeasible, so
                that the next proposal differs; a valid one as running.
        """
        proposal = self.propose(len(self._trials()))
        objection = judge(self.space.decode(proposal.params))
        if objection:
            return self._enter(proposal, TrialState.FAIL, {"reason": "invalid", "detail": objection})
        return self._enter(proposal, TrialState.RUNNING, {})

    def start_fork(self, fork: Fork, stored: Mapping[str, Any]) -> TrialRecord:
        """Add a running trial that continues its parent's training with other settings.

        Args:
            fork: the parent, and the epochs it had done.
            stored: the new trial's settings, as the study stores them.
        """
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
        """Store the first objective after an epoch; a repeated call changes nothing.

        Args:
            number: of the trial.
            epoch: epochs done, from 1.
            value: the objective.
        """
        trial = self._trial(number)
        if trial.state == TrialState.RUNNING and epoch not in trial.intermediate_values:
            self._storage.set_trial_intermediate_value(trial._trial_id, epoch, value)

    def should_stop(self, number: int) -> bool:
        """Ask the scheduler whether to stop this trial after its latest reported epoch."""
        trial = self._trial(number)
        return COMPANION not in trial.user_attrs and self.pruner.prune(self.competing, trial)  # type: ignore[arg-type]

    def complete(self, number: int, further: Sequence[float] = ()) -> None:
        """Finish a trial that reached its last epoch; its value is the latest it reported.

        Args:
            number: of the trial.
            further: values of the other objectives.
        """
        trial = self._trial(number)
        if trial.state == TrialState.RUNNING and trial.last_step is not None:
            self.study.tell(number, [trial.intermediate_values[trial.last_step], *further])

    def stop(self, number: int) -> None:
        """Finish a trial that the scheduler stopped: PRUNED in Optuna's terms, with its intermediate values."""
        if self._trial(number).state == TrialState.RUNNING:
            self.study.tell(number, state=TrialState.PRUNED)

    def fail(self, number: int, reason: str, detail: str = "") -> None:
        """Finish a trial that failed or is infeasible.

        Args:
            number: of the trial.
            reason: nan, error, lost (FAILED); memory, refused, invalid (INFEASIBLE).
            detail: one line more about it.
        """
        trial = self._trial(number)
        if trial.state == TrialState.RUNNING:
            # The reason first: a finished trial accepts no more attributes.
            self._storage.set_trial_user_attr(trial._trial_id, "detail", detail)
            self._storage.set_trial_user_attr(trial._trial_id, "reason", reason)
            self.study.tell(number, state=TrialState.FAIL)

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
