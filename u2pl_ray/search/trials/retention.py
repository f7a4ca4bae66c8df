"""Delete checkpoints that are not kept, so that concurrent trials and `keep` finished ones bound the disk use.

Where a retry can go on from a failed trial's checkpoint (in a folder), the latest `keep` failed ones keep theirs, too.
"""

from collections.abc import Collection, Sequence

from u2pl_ray.search.listeners.base import Listener
from u2pl_ray.search.storage import layout
from u2pl_ray.search.study.companion import Kind
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.study.trial_record import RETRYABLE, State, TrialRecord
from u2pl_ray.system.stores import is_uri
from u2pl_ray.train.run_files import delete

KEEP = 5
"""Default number of finished trials that keep their checkpoints: the best ones."""


def discard_checkpoints(
    records: Sequence[TrialRecord], maximize: bool, trials: str, keep: int, spare: Collection[str] = ()
) -> None:
    """Delete the checkpoints of finished trials that are not among the best `keep`; their metrics stay.

    Those of failed trials that may run again stay, too: of the latest `keep` of them.

    Args:
        records: all trials of the study.
        maximize: whether larger values are better.
        trials: path or URI of the experiment's `trials/`.
        keep: number of finished trials that keep theirs; completed ones rank before stopped ones, those before failed
            ones. Baselines, and trials that were repeated on new seeds, keep theirs besides; replicates do not.
        spare: ids of trials whose checkpoints are still needed.
    """
    sign = 1 if maximize else -1
    waiting = set() if is_uri(trials) else _to_run_again(records, keep)
    repeated = {record.companion.of for record in records if record.companion is not None}
    finished = [
        record
        for record in records
        if record.state.finished
        and record.id not in spare
        and record.number not in waiting
        and record.number not in repeated
        and (record.companion is None or record.companion.kind != Kind.BASELINE)
    ]

    def rank(record: TrialRecord) -> tuple[bool, bool, bool, bool, float]:
        value = record.latest
        return (
            record.companion is None,
            record.state == State.COMPLETED,
            not record.failed,
            value is not None,
            0.0 if value is None else sign * value,
        )

    for record in sorted(finished, key=rank, reverse=True)[keep:]:
        delete(f"{trials}/{record.id}/{layout.RUN}")


def _to_run_again(records: Sequence[TrialRecord], most: int) -> set[int]:
    """Return the numbers of failed trials whose checkpoints a retry may copy: the latest so many.

    A retry that is queued or runs has not copied them yet, if it was killed before that.
    """
    done = {record.retries for record in records if record.state.finished}
    broken = [
        record
        for record in records
        if record.state == State.FAILED and record.reason in RETRYABLE and record.epochs and record.number not in done
    ]
    latest = sorted(broken, key=lambda record: (record.finished is not None, record.finished, record.number))
    return {record.number for record in latest[max(0, len(latest) - most) :]}


class Keeper(Listener):
    """Listener that calls `discard_checkpoints` whenever a trial ends; it spares that trial, which may still write."""

    def __init__(self, study: TrialStudy, trials: str, keep: int) -> None:
        self._study, self._trials, self._keep = study, trials, keep

    def trial_finished(self, trial: TrialRecord) -> None:
        """See `Listener`."""
        self._discard([trial.id])

    def close(self) -> None:
        """See `Listener`."""
        self._discard()

    def _discard(self, spare: Collection[str] = ()) -> None:
        discard_checkpoints(
            self._study.all_records(), self._study.space.metric.maximize, self._trials, self._keep, spare
        )
