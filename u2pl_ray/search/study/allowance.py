"""What a search may spend in trainings, and on what: first new settings, then the leaders on new seeds.

A budget of hours becomes one of trainings when exploring ends: what all the hours buy at the pace so far. The number is
written to the study before it takes effect, so that what follows is a function of the study, whenever it is killed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from u2pl_ray.search.study.trial_record import TrialRecord

EXPLORED = "explored"
"""User attribute of a study: by `Allowance.limits`, the trainings that a budget of hours was found to be worth."""


@dataclass(frozen=True)
class Allowance:
    """Budget in full trainings' worth: epochs trained over the epochs of one training; a shared warm-up counts once.

    Attributes:
        epochs: of one training.
        trainings: for all that the search trains, companions included; None: no such limit.
        replicating: share of it that is kept for replicates; of what was explored, where nothing else limits trainings.
        confirming: trainings on top, for replicates alone.
        limits: the search's other limits in a word, so that what was decided under them ends with them.
    """

    epochs: int
    trainings: float | None = None
    replicating: float = 0.0
    confirming: int = 0
    limits: str = ""

    @property
    def limited(self) -> bool:
        """Return whether there is a budget of trainings, or there are replicates to come."""
        return self.trainings is not None or self.confirming > 0 or self.replicating > 0

    @property
    def limit(self) -> float | None:
        """Return the trainings' worth after which the search ends, None where other limits end it."""
        return None if self.trainings is None else self.trainings + self.confirming

    def decided(self, attributes: Mapping[str, Any]) -> "Allowance":
        """Return it with the trainings that were written to the study, see `EXPLORED`.

        Args:
            attributes: the study's user attributes.
        """
        worth = attributes.get(EXPLORED, {}).get(self.limits)
        if worth is None:
            return self
        return replace(self, trainings=worth if self.trainings is None else min(worth, self.trainings))

    def spent(self, records: Sequence[TrialRecord]) -> float:
        """Return the trainings' worth used so far. A replicate that failed counts as a whole one: so rounds end.

        A trial that was retried counts with its retry, which has its epochs.
        """
        return sum(self._cost(record) for record in _once(records)) / self.epochs

    def exploring(self, records: Sequence[TrialRecord]) -> bool:
        """Tell whether a new setting may start; trials that run count as if they went on to their end."""
        if self.trainings is None:
            return True
        return self.explored(records) < (1 - self.replicating) * self.trainings - 1e-9

    def explored(self, records: Sequence[TrialRecord]) -> float:
        """Return the trainings' worth of all but replicates; trials that run count as if they went on to their end."""
        running = (record for record in records if not record.state.finished and not record.replicate)
        committed = self.spent(records) + sum(1 - record.epochs / self.epochs for record in running)
        return committed - self._replicated(records)

    def replicates(self, records: Sequence[TrialRecord]) -> int:
        """Return the trainings left for replicates, once exploring has ended and nothing runs."""
        trainings = self.trainings
        if trainings is None:
            trainings = (self.spent(records) - self._replicated(records)) / (1 - self.replicating)
        return max(0, math.floor(self.confirming + trainings - self.spent(records) + 1e-9))

    def replicates_of(self, explored: float) -> int:
        """Return how many replicates there are in all, where a number of trials or the patience ends exploring.

        Args:
            explored: trainings' worth of all but replicates.
        """
        return self.confirming + math.floor(explored * self.replicating / (1 - self.replicating) + 1e-9)

    def replicated(self, records: Sequence[TrialRecord]) -> int:
        """Return how many replicates have started; one that was retried counts with its retry."""
        return sum(record.replicate for record in _once(records))

    def _replicated(self, records: Sequence[TrialRecord]) -> float:
        return self.spent([record for record in records if record.replicate])

    def _cost(self, record: TrialRecord) -> float:
        """Return the epochs that it trained itself; at least one for a start that failed, so that a search ends."""
        if record.failed and record.replicate:
            return self.epochs
        least = 1 if record.failed and record.reason != "invalid" else 0
        return max(least, record.epochs - record.inherited)


def _once(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the records but for the failed ones that a retry does again."""
    again = {record.retries for record in records}
    return [record for record in records if record.number not in again]
