"""Trainings of other experiments that count for a search's answer: of its confirmation, and of earlier ones like it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from u2pl_ray.config.errors import UserError
from u2pl_ray.search.storage import layout


@dataclass(frozen=True)
class BorrowedTraining:
    """One training that is as if the search had trained it, but for its seed.

    Attributes:
        params: the search's settings by dotted path, without the seed.
        seed: of the training.
        values: the search's first objective by epoch.
        complete: whether it reached its last epoch.
        confirms: whether it was trained to confirm this search.
        diverged: whether its loss or objective was no number at some epoch; its values are those before.
    """

    params: Mapping[str, Any]
    seed: int
    values: Mapping[int, float]
    complete: bool
    confirms: bool = False
    diverged: bool = False


def write(folder: Path, trainings: Sequence[BorrowedTraining]) -> None:
    """Write trainings of earlier experiments into a new one's folder, which then does not need those.

    Args:
        folder: the experiment's.
        trainings: without any, nothing is written.
    """
    if trainings:
        rows = [asdict(training) for training in trainings]
        (folder / layout.EARLIER_TRAININGS).write_text(json.dumps(rows, indent=1), "utf-8")


def read(folder: Path) -> list[BorrowedTraining]:
    """Read the trainings of earlier experiments; none if there is no such file.

    Raises:
        UserError: the file is damaged.
    """
    file = folder / layout.EARLIER_TRAININGS
    try:
        rows = json.loads(file.read_text("utf-8"))
        return [
            BorrowedTraining(**{**row, "values": {int(epoch): it for epoch, it in row["values"].items()}})
            for row in rows
        ]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{file}: damaged, and there is no copy of it; restore it from a backup") from None


def matched(
    trainings: Sequence[BorrowedTraining], settings: Mapping[str, Mapping[str, Any]], trained: set[tuple[str, int]]
) -> list[tuple[str, BorrowedTraining]]:
    """Return the trainings of settings that a search has, each with the setting's name, and none twice.

    The same setting on the same seed is the same training: one that the search did itself is left out, and of several
    others the longest is taken.

    Args:
        trainings: of other experiments.
        settings: the search's by name, each by dotted path.
        trained: names and seeds of what the search trained itself.
    """
    seen = set(trained)
    found = []
    for training in sorted(trainings, key=lambda it: max(it.values, default=0), reverse=True):
        name = next((name for name, params in settings.items() if params == training.params), None)
        if name is not None and (name, training.seed) not in seen:
            seen.add((name, training.seed))
            found.append((name, training))
    return found
