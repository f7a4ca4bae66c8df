"""What a study's trainings say of its settings' true worth: the posterior over all of them, stopped ones too."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from u2pl_ray.config.schema import Config
from u2pl_ray.search.samplers.unit_cube import categories, searched, to_unit
from u2pl_ray.search.space.one_length import one_length
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study.borrowed import BorrowedTraining, matched
from u2pl_ray.search.study.companion import Kind
from u2pl_ray.search.study.trial_record import PAPER, State, TrialRecord, trial_id

if TYPE_CHECKING:  # the posterior needs scipy, which a look at a search without replicates does not pay for
    from u2pl_ray.posterior import Answer, Posterior, Run

_SEED = "seed"
_LEAST = 2
"""Settings with a value, below which there is nothing to judge."""


@dataclass(frozen=True)
class Judgement:
    """Settings of a search by the id of the first trial that has each and did not fail, and their trainings.

    Attributes:
        space: what is searched.
        config: the configuration the trials start from.
        records: all trials and their companions.
        looks: how many looks at the answer there are, its confirmation aside, see `posterior.threshold`.
        borrowed: trainings of other experiments; they count where they are of settings that the search tried.
        missing: replicates that the budget has room for and that are not trained; 0 once the search has ended.
    """

    space: Space
    config: Config
    records: Sequence[TrialRecord]
    looks: int = 1
    borrowed: Sequence[BorrowedTraining] = ()
    missing: int = 0

    @property
    def repeated(self) -> bool:
        """Return whether a replicate has a value: only then are settings judged by more than one training each.

        Trainings of several lengths are not judged so, see `one_length`.
        """
        return one_length(self.space) and (self._replicated or self.confirmed)

    @property
    def _replicated(self) -> bool:
        return any(it.replicate for it in self._complete)

    @property
    def confirmed(self) -> bool:
        """Return whether the confirmation, an experiment of its own, has a value of a setting."""
        return any(it.confirms and it.complete for _, it in self.matched)

    @property
    def look(self) -> int:
        """Return which look at the answer this is: the confirmation of an answer is one more."""
        return self.looks + (self._replicated and self.confirmed)

    @cached_property
    def matched(self) -> list[tuple[str, BorrowedTraining]]:
        """Return the trainings of other experiments that count, each with its setting; none that the search has."""
        settings = {
            it.id: _without_seed(it.params)
            for it in self.records
            if it.companion is None and it.params and self.labels[it.number] == it.id
        }
        return matched(self.borrowed, settings, {(self.labels[it.number], self.seed(it)) for it in self._useful})

    @property
    def _complete(self) -> list[TrialRecord]:
        return [it for it in self.records if it.state == State.COMPLETED and it.value is not None]

    @cached_property
    def labels(self) -> dict[int, str]:
        """Return the setting of each trial and replicate by its number; other methods are settings of their own."""
        found: dict[int, str] = {}
        first: dict[str, str] = {}
        # A trial that failed names a setting only if none else has it.
        for record in sorted(self.records, key=lambda it: it.failed):
            if record.replicate:
                continue
            key = repr((sorted(_without_seed(record.params).items()), _method(record)))
            found[record.number] = first.setdefault(key, record.id)
        for record in self.records:
            if record.companion is not None and record.companion.of is not None:
                found[record.number] = found.get(record.companion.of, trial_id(record.companion.of))
        return found

    @cached_property
    def reference(self) -> str | None:
        """Return the paper's setting, None if the search has no trial of it."""
        return next((self.labels[it.number] for it in self.records if it.note == PAPER), None)

    @cached_property
    def baselines(self) -> dict[str, str]:
        """Return the other methods beside the search, each with its setting's name."""
        kinds = ((it, it.companion) for it in self.records)
        return {
            it.note: self.labels[it.number] for it, that in kinds if that is not None and that.kind == Kind.BASELINE
        }

    @cached_property
    def seeds(self) -> dict[str, list[tuple[int, float, TrialRecord]]]:
        """Return by setting its complete trainings: seed, value, trial."""
        found: dict[str, list[tuple[int, float, TrialRecord]]] = {}
        for record in self._complete:
            found.setdefault(self.labels[record.number], []).append((self.seed(record), record.value or 0.0, record))
        return found

    @cached_property
    def dots(self) -> dict[str, list[tuple[int, float]]]:
        """Return by setting its complete trainings, those of other experiments too: seed, value."""
        found = {label: [(seed, value) for seed, value, _ in own] for label, own in self.seeds.items()}
        for label, it in self.matched:
            if it.complete and not it.diverged:
                found.setdefault(label, []).append((it.seed, it.values[max(it.values)]))
        return found

    @cached_property
    def runs(self) -> "list[Run]":
        """Return the trainings of the settings that have a value; not of other methods. Failed ones say nothing here.

        A setting that was proposed twice was trained twice on the same seed, which is the same training: the longest
        counts. Two equal values would pass for a proof that there is no noise.
        """
        longest: dict[tuple[str, int], TrialRecord] = {}
        for it in self._useful:
            key = self.labels[it.number], self.seed(it)
            if key not in longest or it.epochs > longest[key].epochs:
                longest[key] = it
        own = [self._run(label, seed, it.values) for (label, seed), it in longest.items()]
        others = [self._run(label, it.seed, it.values) for label, it in self.matched if not it.diverged]
        return [run for run in (*own, *others) if run is not None]

    @cached_property
    def diverged(self) -> dict[str, int]:
        """Return by setting how many of its trainings on new seeds diverged; settings without any are left out."""
        others = set(self.baselines.values())
        return {label: count for label, count in self.diverged_with_baselines.items() if label not in others}

    @cached_property
    def diverged_with_baselines(self) -> Mapping[str, int]:
        """Return `diverged`, with the baselines' trainings on new seeds too."""
        own = [self.labels[it.number] for it in self.records if it.replicate and it.diverged]
        return Counter([*own, *(label for label, it in self.matched if it.diverged)])

    @property
    def _useful(self) -> list[TrialRecord]:
        others, again = set(self.baselines.values()), {record.retries for record in self.records}
        return [
            it
            for it in self.records
            if not it.failed and it.number not in again and it.fork is None and self.labels[it.number] not in others
        ]

    def _run(self, label: str, seed: int, by_epoch: Mapping[int, float]) -> "Run | None":
        from u2pl_ray.posterior import Run, progress

        epochs, method = self.config.train.epochs, self.config.method
        warmup = method.warmup_epochs if method.semi_supervised else 0
        values = {
            progress(epoch, epochs, min(warmup, epochs - 1)): value
            for epoch, value in by_epoch.items()
            if epoch <= epochs and np.isfinite(value)
        }
        return Run(label, seed, values) if values else None

    def seed(self, record: TrialRecord) -> int:
        """Return the seed that a trial was trained on."""
        return int(record.settings.get(_SEED, self.config.seed))

    @cached_property
    def points(self) -> dict[str, list[float]] | None:
        """Return each setting's place in the unit cube; None if one has none, or nothing varies."""
        named = {run.setting for run in self.runs}
        tried = {it.id: it.params for it in self.records if it.id in named and it.params and it.companion is None}
        space = self.ranges
        distributions = searched(space.distributions)
        if not distributions or not named <= tried.keys():
            return None
        try:
            found = {label: to_unit(distributions, space.encode(tried[label])) for label in sorted(named)}
        except (KeyError, ValueError):  # a parameter that it lacks, a choice that is none any more
            return None
        return found if all(0 <= share <= 1 for point in found.values() for share in point) else None

    @cached_property
    def ranges(self) -> Space:
        """Return the space, as wide as all settings that were tried: `extend --space` may have narrowed it."""
        space = self.space
        for record in self.records:
            if record.companion is None and record.params:
                space = space.around(record.params)
        return space

    @cached_property
    def comparable(self) -> bool:
        """Return whether the paper's setting and another one have a value."""
        named = {self.labels[it.number] for it in self._useful if it.values}
        return self.reference in named and len(named) >= _LEAST

    @property
    def incomparable(self) -> bool:
        """Return whether nothing can be compared any more: the paper's setting has no value, and none is to come."""
        useful = {it.number for it in self._useful if it.values}
        trained = [it for it in self.records if self.labels.get(it.number) == self.reference]
        return not any(it.number in useful or not it.state.finished for it in trained)

    @cached_property
    def posterior(self) -> "Posterior | None":
        """Return what is known of the settings; None if they are not comparable."""
        if not self.comparable:
            return None
        from u2pl_ray.posterior import encode, fit

        counts = categories(searched(self.ranges.distributions))
        points = self.points
        encoded = None if points is None else {label: encode(point, counts) for label, point in points.items()}
        return fit(self.runs, self.reference, encoded, self.space.metric.maximize)

    @cached_property
    def answer(self) -> "Answer | None":
        """Return which setting to use, and how surely; None where `posterior` is."""
        if self.posterior is None:
            return None
        from u2pl_ray.posterior import answer

        return answer(self.posterior, self.look, diverged=self.diverged)

    @property
    def use(self) -> str | None:
        """Return the setting to use: the leader if it may be called better, else the paper's; None without answer."""
        from u2pl_ray.posterior import Verdict

        if self.answer is None or self.answer.verdict != Verdict.BETTER:
            return self.reference if self.answer is not None else None
        return self.answer.leader


def _without_seed(params: Mapping[str, Any]) -> dict[str, Any]:
    return {path: value for path, value in params.items() if path != _SEED}


def _method(record: TrialRecord) -> Any:
    return None if record.companion is None else record.companion.changes.get("method.name")
