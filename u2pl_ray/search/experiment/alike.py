"""Find trainings of other experiments that are like a search's own in all that a result depends on but the seed."""

from collections.abc import Sequence
from typing import Any

from u2pl_ray.config import overrides
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.experiment.snapshot import HARMLESS
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study.borrowed import BorrowedTraining
from u2pl_ray.search.study.trial_record import State, TrialRecord

_SEED = "seed"


def trainings_like(
    records: Sequence[TrialRecord],
    theirs: tuple[Space, Config],
    ours: tuple[Space, Config],
    confirms: bool = False,
) -> list[BorrowedTraining]:
    """Return an experiment's trainings that a search could have trained: stopped ones and replicates too.

    Of a confirmation also those that diverged: they count against a setting.

    The whole configuration must be the same but for the seed and for what changes no result (`snapshot.HARMLESS`).

    Args:
        records: all trials of the experiment and their companions.
        theirs: its space, and the configuration its trials start from.
        ours: the same of the search that they shall count for.
        confirms: whether they were trained to confirm that search.
    """
    if theirs[0].metric != ours[0].metric:
        return []
    again = {record.retries for record in records}
    useful = [it for it in records if it.number not in again and (_useful(it) or (confirms and it.diverged))]
    found = [_alike(it, theirs, ours, confirms) for it in useful]
    return [training for training in found if training is not None]


def _useful(record: TrialRecord) -> bool:
    """Tell whether it is a training from the start, with values, of the search's own method."""
    baseline = record.companion is not None and "method.name" in record.companion.changes
    return bool(record.values) and not record.failed and record.fork is None and not baseline


def _alike(
    record: TrialRecord, theirs: tuple[Space, Config], ours: tuple[Space, Config], confirms: bool
) -> BorrowedTraining | None:
    space, base = ours
    try:
        config = theirs[0].configure(theirs[1], record.settings)
        params = {path: _plain(overrides.get(config, path)) for path in space.parameters if path != _SEED}
        mine = space.configure(base, params)
    except UserError:  # what is valid there need not be valid here
        return None
    for path in overrides.paths():
        same = path == _SEED or path.startswith(HARMLESS)
        if not same and overrides.get(config, path) != overrides.get(mine, path):
            return None
    return BorrowedTraining(
        params, config.seed, record.values, record.state == State.COMPLETED, confirms, record.diverged
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
