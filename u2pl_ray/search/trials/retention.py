"""Which checkpoints stay: disk use is bounded by how many trials run at once and how many finished ones keep theirs."""

from collections.abc import Collection, Sequence

from u2pl_ray.search.listeners.base import Listener
from u2pl_ray.search.storage import layout
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.study.trial_record import State, TrialRecord
from u2pl_ray.train.run_files import delete

KEEP = 5
"""Finished trials that keep their checkpoints, unless told otherwise: the best ones."""


def discard_checkpoints(
    records: Sequence[TrialRecord], maximize: bool, trials: str, keep: int, spare: Collection[str] = ()
) -> None:
    """Delete the checkpoints of finished trials that are not among the best `keep`; what they reported stays.

    Args:
        records: all trials of the study.
        maximize: whether larger values are better.
        trials: path or URI of the experiment's `trials/`.
        keep: how many finished trials keep theirs; completed ones come before stopped and failed ones.
        spare: ids of trials whose checkpoints someone still needs.
    """
    sign = 1 if maximize else -1
    finished = [record for record in records if record.state.finished and record.id not in spare]

    def rank(record: TrialRecord) -> tuple[bool, bool, float]:
        value = record.latest
        return record.state == State.COMPLETED, value is not None, 0.0 if value is None else sign * value

    for record in sorted(finished, key=rank, reverse=True)[keep:]:
        delete(f"{trials}/{record.id}/{layout.RUN}")


class Keeper(Listener):
    """Applies `discard_checkpoints` whenever a trial has ended: to all but this one, which may still be writing."""

    def __init__(self, study: TrialStudy, trials: str, keep: int) -> None:
        self._study, self._trials, self._keep = study, trials, keep

    def trial_finished(self, trial: TrialRecord) -> None:
        """See `Listener`."""
        self._discard([trial.id])

    def close(self) -> None:
        """See `Listener`."""
        self._discard()

    def _discard(self, spare: Collection[str] = ()) -> None:
        discard_checkpoints(self._study.records(), self._study.space.metric.maximize, self._trials, self._keep, spare)
