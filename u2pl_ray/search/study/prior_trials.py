"""Trials of earlier experiments, stored with a new one for its sampler (`--warm-start`)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from u2pl_ray.config.errors import UserError
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.storage import layout
from u2pl_ray.search.study import borrowed
from u2pl_ray.search.study.borrowed import BorrowedTraining
from u2pl_ray.search.study.trial_record import State


@dataclass(frozen=True)
class Earlier:
    """Trials of earlier experiments that fit a new space.

    Attributes:
        trials: plain data: experiment, trial, state, reason, params (every searched setting), values (by epoch),
            objectives.
        notes: a sentence per experiment: how many trials the sampler gets, and which are left out.
        trainings: those that count for the new search's answer where it tries the same settings.
    """

    trials: Sequence[Mapping[str, Any]] = ()
    notes: Sequence[str] = ()
    trainings: Sequence[BorrowedTraining] = ()

    def write(self, folder: Path) -> None:
        """Write the trials into the new experiment's folder, which then does not need the earlier experiments."""
        if self.trials:
            (folder / layout.WARM_START).write_text(json.dumps(list(self.trials), indent=1), "utf-8")
        borrowed.write(folder, self.trainings)


NOTHING = Earlier()


def read(folder: Path, space: Space) -> list[FrozenTrial]:
    """Read an experiment's earlier trials as finished trials of its study.

    Args:
        folder: the experiment's; without warm_start.json there are none.
        space: trials outside it are left out.

    Raises:
        UserError: the file is damaged.
    """
    file = folder / layout.WARM_START
    try:
        rows = json.loads(file.read_text("utf-8"))
        holds = [all(space.parameters[path].holds(value) for path, value in row["params"].items()) for row in rows]
        fitting = [row for row, fits in zip(rows, holds, strict=True) if fits]
        return [_frozen(row, space, -1 - index) for index, row in enumerate(fitting)]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{file}: damaged, and there is no copy of it; restore it from a backup") from None


def _frozen(row: Mapping[str, Any], space: Space, number: int) -> FrozenTrial:
    state = {State.COMPLETED: TrialState.COMPLETE, State.STOPPED: TrialState.PRUNED}.get(
        State(row["state"]), TrialState.FAIL
    )
    trial = optuna.trial.create_trial(
        state=state,
        values=row["objectives"] or None,
        params=space.encode(row["params"]),
        distributions=space.distributions,
        intermediate_values={int(epoch): value for epoch, value in row["values"].items()},
        user_attrs={"reason": row["reason"]},
    )
    trial.number = number
    return trial
