"""Rounds of replicates: once exploring has ended, the leaders and the paper's setting train on new common seeds.

Which ones is a function of the study at the end of the round before. A round is written to the study in one piece
before its first training starts, so a kill at any moment changes nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from u2pl_ray.config.schema import Config
from u2pl_ray.search.study.allowance import EXPLORED, Allowance
from u2pl_ray.search.study.companion import Companion, Kind
from u2pl_ray.search.study.judgement import Judgement
from u2pl_ray.search.study.remaining import counted, remaining
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.study.trial_record import TrialRecord, trial_id
from u2pl_ray.search.trials.forks import Forks

_ROUNDS = "rounds"
"""User attribute of a study: all replicates so far in order, each as [number of the trial it repeats, seed]."""
_EARLIEST = 0.35
"""Share of the hours before which they are not turned into trainings: the pace is that of starting up."""
_SEEDS = 1000
"""`posterior.seed_for` has room for so many seeds of a search."""


class Rounds:
    """Replicates of a search, queued one by one.

    Args:
        study: the trials.
        base: configuration the trials start from.
        allowance: what may be spent.
    """

    def __init__(self, study: TrialStudy, base: Config, allowance: Allowance) -> None:
        self.study, self.base, self._allowance = study, base, allowance

    @property
    def allowance(self) -> Allowance:
        """Return what may be spent, by what the study says of the end of exploring."""
        return self._allowance.decided(self.study.study.user_attrs)

    def end_exploring(self, share: float, stalled: bool) -> str:
        """End exploring where the hours that are left are those for replicates; write what all are worth to the study.

        At the pace so far all hours buy (trainings' worth spent) / (share of the hours used); what `confirming` is for
        aside, exploring may take `1 - replicating` of it. Before there is anything to repeat, exploring goes on, unless
        it has stalled and there never will be.

        Args:
            share: of the hours, used so far, 0 .. 1.
            stalled: whether exploring ends anyway.

        Returns:
            what this call decided, in words; empty if it was decided before, or exploring goes on.
        """
        allowance, known = self.allowance, self.study.study.user_attrs.get(EXPLORED, {})
        if not allowance.replicating or allowance.limits in known or (share < _EARLIEST and not stalled):
            return ""
        records = self.study.all_records()
        worth = allowance.explored(records) / (1 - allowance.replicating)
        if share >= _EARLIEST:
            bought = max(0.0, allowance.spent(records) / share - allowance.confirming)
            if not stalled and replace(allowance, trainings=bought).exploring(records):
                return ""
            worth = min(worth, bought)
        judgement = Judgement(self.study.space, self.base, records)
        never = stalled and judgement.incomparable
        if not judgement.comparable and not never:
            return ""
        self.study.study.set_user_attr(EXPLORED, {**known, allowance.limits: worth})
        if never:
            return "no further settings, and no replicates: the paper's setting has no value to compare with"
        return f"no further settings; the whole budget is worth {worth:.3g} trainings"

    def left(self, records: Sequence[TrialRecord]) -> int:
        """Return how many replicates are still to start; at least so many, while a trial runs.

        Args:
            records: all trials and their companions.
        """
        begun = _begun(records)
        queued = len(self._planned()) - len(begun)
        if queued > 0:
            return queued
        if not Judgement(self.study.space, self.base, records).comparable:
            return 0
        return self.allowance.replicates(records)

    def queue(self) -> bool:
        """Queue the next replicate; return False if there is none, or none before all that runs has ended."""
        records = self.study.all_records()
        begun, planned = _begun(records), self._planned()
        if len(begun) >= len(planned):
            if any(not record.state.finished for record in records):
                return False
            further = self._next_round(records)
            if not further:
                return False
            planned = [*begun, *further]
            self.study.study.set_user_attr(_ROUNDS, planned)
        of, seed = planned[len(begun)]
        repeated = self.study.record(of)
        changes = {} if repeated.companion is None else dict(repeated.companion.changes)
        note = f"{trial_id(of)} again" if repeated.companion is None else f"{repeated.note} again"
        again = Companion(Kind.REPLICATE, {**changes, "seed": seed}, of)
        self.study.enqueue(repeated.params, note, companion=again)
        return True

    def _next_round(self, records: Sequence[TrialRecord]) -> list[list[int]]:
        """Return the trainings of the next round; every baseline joins on its new seeds."""
        from u2pl_ray.posterior import Replicate, next_replicates

        judgement = Judgement(self.study.space, self.base, records, borrowed=self.study.borrowed)
        left = self.allowance.replicates(records)
        if left < 1 or judgement.posterior is None:
            return []
        total = self.allowance.replicated(records) + left
        begun = [Replicate(judgement.labels[of], seed) for of, seed in _begun(records)]
        found = next_replicates(
            judgement.posterior,
            left,
            total,
            self.base.seed % _SEEDS,
            begun=begun,
            baselines=list(judgement.baselines.values()),
        )
        return [[int(it.setting), it.seed] for it in found]

    def _planned(self) -> list[list[int]]:
        planned: Any = self.study.study.user_attrs.get(_ROUNDS, [])
        return [list(pair) for pair in planned]


def left(study: TrialStudy, trials: int | None, forks: Forks, rounds: Rounds) -> int:
    """Return how many trials of a search are still to be started or finished.

    Args:
        study: of the search.
        trials: the requested number, None for no limit.
        forks: of its population.
        rounds: of its replicates.
    """
    records = study.all_records()
    exploring = rounds.allowance.exploring(records)
    more = exploring and (trials is None or len(counted(records)) < trials)
    due = len(forks.due())
    return remaining(records, trials, due, exploring, 0 if more else rounds.left(records))


def _begun(records: Sequence[TrialRecord]) -> list[list[int]]:
    """Return the replicates in the study, queued ones too, as `_ROUNDS` has them; repeated failures once."""
    found = []
    for record in records:
        companion = record.companion
        if record.replicate and companion is not None and record.retries is None:
            found.append([companion.of or 0, int(companion.changes["seed"])])
    return found
