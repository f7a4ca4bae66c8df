"""A search with real, tiny trainings of two workers, and what is on record of it."""

from pathlib import Path
from typing import Any

import yaml

from benchmarks.killing import CONFIG, SPACE, story
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.study.trial_record import TrialRecord

EPOCHS = 6


def write_files(folder: Path, steps: int = 8) -> None:
    """Write my.yaml and space.yaml: two workers, no early stopping; generated images are kept in this folder.

    Args:
        folder: in which to write.
        steps: optimizer steps an epoch.
    """
    config = yaml.safe_load(CONFIG)
    config["workers"] = 2
    config["train"] |= {"epochs": EPOCHS, "steps_per_epoch": steps, "unlabeled_batch_size": 4}  # pairs for CutMix
    config["tracking"] = {"wandb": "offline"}
    (folder / "my.yaml").write_text(yaml.safe_dump(config))
    space = yaml.safe_load(SPACE)
    del space["early_terminate"]
    (folder / "space.yaml").write_text(yaml.safe_dump(space))


def epochs_on_record(experiment: Path) -> dict[str, int]:
    """Return how many epochs each trial has reported."""
    return {file.parent.name: file.read_bytes().count(b"\n") for file in experiment.glob("trials/*/epochs.jsonl")}


def newest_checkpoint(experiment: Path, trial: str) -> int:
    """Return the epoch of a trial's newest checkpoint."""
    stored = (experiment / "trials" / trial / "train").glob("epoch_*/checkpoint.pt")
    return max((int(file.parent.name.removeprefix("epoch_")) for file in stored), default=0)


def records(experiment: Path) -> list[TrialRecord]:
    """Return all trials."""
    return Experiment.open(str(experiment)).study().records()


def outcome(experiment: Path) -> dict[str, Any]:
    """Return everything a search came to, without clocks: see `benchmarks.killing.story`."""
    opened = Experiment.open(str(experiment))
    return story(opened.study(), opened.folder / "trials")
