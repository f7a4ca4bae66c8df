"""The checkpoint that a verb is to use: named by its experiment, or by its own path."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from u2pl_ray.config.errors import UserError, nearest

if TYPE_CHECKING:
    from u2pl_ray.search.experiment.experiment import Experiment


@dataclass(frozen=True)
class Found:
    """A checkpoint: its folder or URI, and the experiment that it was named by, if it was."""

    path: str
    experiment: "Experiment | None" = None


def find_checkpoint(name: str, trial: str | None = None, storage_path: str | None = None) -> str:
    """Return the folder or URI of the checkpoint that `name` stands for; see `find`."""
    return find(name, trial, storage_path).path


def find(name: str, trial: str | None = None, storage_path: str | None = None) -> Found:
    """Find the checkpoint that `name` stands for.

    Args:
        name: an experiment (its best trial's newest checkpoint), `NAME:TRIAL`, a checkpoint's folder, file
            or URI, or exported weights.
        trial: which trial of the experiment; `0003`, or `3`.
        storage_path: where experiments are kept.

    Raises:
        UserError: there is no such experiment, trial or checkpoint.
    """
    experiment_name, colon, named = name.partition(":") if "://" not in name else (name, "", "")
    if colon and trial is not None:
        raise UserError(f"{name} --trial {trial}: name the trial once")
    wanted = named or trial
    if not _holds_experiment(experiment_name, storage_path):
        if "://" in name or os.path.exists(Path(name).expanduser()):
            if trial is not None:
                raise UserError(f"--trial {trial}: {name} is no experiment but a checkpoint of its own")
            return Found(name)
        raise UserError(_absent(name, storage_path))
    from u2pl_ray.search.experiment.experiment import Experiment

    experiment = Experiment.open(experiment_name, storage_path)
    study = experiment.study()
    if wanted:
        records = {record.id: record for record in study.all_records()}
        chosen = records.get(wanted.zfill(4))
        if chosen is None:
            raise UserError(f"{experiment.name}: has no trial {wanted}; it has {', '.join(records) or 'none yet'}")
    else:
        chosen = experiment.best(study)
        if chosen is None:
            from u2pl_ray.analysis.tables import no_result

            raise UserError(f"{experiment.name}: {no_result(experiment)}")
    checkpoint = experiment.checkpoint(chosen.id)
    if checkpoint is None:
        raise UserError(
            f"{experiment.name}: trial {chosen.id} has no checkpoint on disk (a search keeps those of its best trials: "
            "--keep-trials); choose another with --trial"
        )
    return Found(checkpoint, experiment)


def _holds_experiment(name: str, storage_path: str | None) -> bool:
    from u2pl_ray.search.storage import layout
    from u2pl_ray.search.storage.place import find

    try:
        place = find(name, storage_path)
    except UserError:  # not a name that an experiment can have
        return False
    return place.holds(layout.EXPERIMENT)


def _absent(name: str, storage_path: str | None) -> str:
    from u2pl_ray.search.storage.place import absolute, experiments

    known = experiments(storage_path)
    return (
        f"{name}: no such checkpoint, and no such experiment in {absolute(storage_path)}{nearest(name, known)}; "
        "`u2pl-ray list` shows the experiments"
    )
