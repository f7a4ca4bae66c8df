"""A search that tests drive in this process, and whose trainings are functions."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.assignment import Assignment, Outcome
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.listeners.base import Listener, Listeners
from u2pl_ray.search.samplers.registry import SamplerChoice
from u2pl_ray.search.schedulers.registry import SchedulerChoice
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.study.trial_record import State, TrialRecord
from u2pl_ray.search.trials.epoch_log import read_epochs

EPOCHS = 9
COMPLETED = Outcome(State.COMPLETED)


def miou(config: Config, epoch: int) -> float:
    distance = abs(math.log(config.method.contrastive.temperature / 0.5))
    return (1.0 - math.exp(-3.0 * epoch / EPOCHS)) * math.exp(-distance)


def metrics(config: Config, epoch: int) -> dict[str, Any]:
    return {"training_iteration": epoch, "val/miou": miou(config, epoch)}


def open_study(folder: Path, space: Space) -> TrialStudy:
    arguments = (folder / "study", "a", space, SamplerChoice("tpe", 1, {"n_startup_trials": 3}))
    pruner = SchedulerChoice().build(EPOCHS)
    return TrialStudy.open(*arguments, pruner) if (folder / "study").exists() else TrialStudy.create(*arguments, pruner)


def open_driver(folder: Path, space: Space, base: Config, trials: int = 8, *listeners: Listener) -> Driver:
    return Driver(open_study(folder, space), base, trials, folder / "trials", Listeners(listeners))


def train(driver: Driver, assignment: Assignment, checkpoint: dict[str, int]) -> None:
    """A training that keeps its own checkpoint: repeats what was not reported, then goes on."""
    epochs = [*range(assignment.reported_epochs + 1, checkpoint.get(assignment.trial, 0) + 1)]
    epochs += range(checkpoint.get(assignment.trial, 0) + 1, EPOCHS + 1)
    for epoch in epochs:
        checkpoint[assignment.trial] = max(epoch, checkpoint.get(assignment.trial, 0))
        if driver.report(assignment.trial, metrics(assignment.config, epoch)):
            return
    driver.finish(assignment.trial, COMPLETED)


def search(driver: Driver, checkpoint: dict[str, int] | None = None) -> None:
    while (assignment := driver.next()) is not None:
        train(driver, assignment, {} if checkpoint is None else checkpoint)


def story(folder: Path, space: Space) -> list[Any]:
    """Everything the search came to, without the clock."""
    return [
        (record.state, record.params, record.values, record.value, read_epochs(file))
        for record in open_study(folder, space).records()
        if (file := folder / "trials" / record.id / "epochs.jsonl")
    ]


class Recorder(Listener):
    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def trial_started(self, trial: TrialRecord, config: Config) -> None:
        self.events.append(("started", trial.id, trial.epochs))

    def epoch_known(self, trial: TrialRecord, metrics: Mapping[str, Any]) -> None:
        self.events.append(("known", trial.id, metrics["training_iteration"]))

    def epoch_done(self, trial: TrialRecord, metrics: Mapping[str, Any], best: TrialRecord | None) -> None:
        self.events.append(("epoch", trial.id, metrics["training_iteration"]))

    def trial_finished(self, trial: TrialRecord) -> None:
        self.events.append(("finished", trial.id, trial.state))

    def note(self, text: str) -> None:
        self.events.append(("note", text))
