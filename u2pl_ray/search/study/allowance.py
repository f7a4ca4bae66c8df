"""What a search may spend in trainings, and on what: first new settings, then the leaders on new seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from u2pl_ray.search.study.trial_record import State, TrialRecord


@dataclass(frozen=True)
class Allowance:
    """Budget in full trainings' worth: epochs trained over the epochs of one training; a shared warm-up counts once.

    Attributes:
        epochs: of one training.
        trainings: for all that the search trains, companions included; None: no such limit.
        replicating: share of it that is kept for replicates.
        confirming: trainings on top, for replicates alone.
    """

    epochs: int
    trainings: float | None = None
    replicating: float = 0.0
    confirming: int = 0

    @property
    def limited(self) -> bool:
        """Return whether there is a budget of trainings, or there are replicates to come."""
        return self.trainings is not None or self.confirming > 0

    def spent(self, records: Sequence[TrialRecord]) -> float:
        """Return the trainings' worth used so far. A replicate that failed counts as a whole one: so rounds end."""
        return sum(self._cost(record) for record in records) / self.epochs

    def exploring(self, records: Sequence[TrialRecord]) -> bool:
        """Tell whether a new setting may start; trials that run count as if they went on to their end."""
        if self.trainings is None:
            return True
        running = (record for record in records if not record.state.finished and not record.replicate)
        committed = self.spent(records) + sum(1 - record.epochs / self.epochs for record in running)
        return committed - self._replicated(records) < (1 - self.replicating) * self.trainings - 1e-9

    def replicates(self, records: Sequence[TrialRecord]) -> int:
        """Return the trainings left for replicates, once exploring has ended and nothing runs."""
        left = float(self.confirming)
        if self.trainings is None:
            left -= self._replicated(records)
        else:
            left += self.trainings - self.spent(records)
        return max(0, math.floor(left + 1e-9))

    def replicated(self, records: Sequence[TrialRecord]) -> int:
        """Return how many replicates have started."""
        return sum(record.replicate for record in records)

    def _replicated(self, records: Sequence[TrialRecord]) -> float:
        return self.spent([record for record in records if record.replicate])

    def _cost(self, record: TrialRecord) -> float:
        """Return the epochs that it trained itself."""
        failed = record.state in (State.FAILED, State.INFEASIBLE)
        return self.epochs if failed and record.replicate else max(0, record.epochs - record.inherited)
