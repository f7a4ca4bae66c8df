"""A small search of three settings, and the way to train what its driver proposes in this process, without Ray."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.search.fake_training import miou
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.assignment import Outcome
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.study.trial_record import State, TrialRecord

TEMPERATURE = "method.contrastive.temperature"
SPACE = """
metric: {name: val/miou, goal: maximize}
parameters:
  method.contrastive.temperature: {distribution: log_uniform_values, min: 0.05, max: 2.0}
  data.scale: {values: [[0.5, 2.0], [1.0, 1.0]]}
  optim.lr: {value: 0.25}
"""
MINE = [(0.1, [0.5, 2.0]), (0.4, [1.0, 1.0]), (0.4, [1.0, 1.0])]
"""Temperature and scale of the settings beside the paper's; one is there twice."""


def searched(
    folder: Path | str, base: Config, name: str = "a", mine: Sequence[tuple[float, list[float]]] = MINE, **more: Any
) -> Experiment:
    """A search of the paper's setting and `mine`, to its end; `more` is for `plan_search`."""
    space = parse_space(SPACE, "s")
    plan = plan_search(base, space, name=name, trials=1 + len(mine), storage_path=folder, scheduler="none", **more)
    made = plan.create()
    for temperature, scale in mine:
        made.study().enqueue({TEMPERATURE: temperature, "data.scale": scale}, "mine")
    train(made)
    return made


def train(
    experiment: Experiment, most: int | None = None, value: Callable[[Config, int], float] = miou
) -> list[Config]:
    """Train at most so many trials of an experiment; return their configurations."""
    driver = Driver(
        experiment.study(), experiment.config, experiment.options.trials, experiment.folder / "trials",
        allowance=experiment.allowance,
    )  # fmt: skip
    return train_with(driver, most, value)


def train_with(driver: Driver, most: int | None = None, value: Callable[[Config, int], float] = miou) -> list[Config]:
    """Train at most so many of the trials that a driver proposes; `value` is val/miou after an epoch."""
    trained: list[Config] = []
    while (most is None or len(trained) < most) and (assignment := driver.next()) is not None:
        for epoch in range(1, assignment.config.train.epochs + 1):
            metrics = {"training_iteration": epoch, "val/miou": value(assignment.config, epoch)}
            if driver.report(assignment.trial, metrics):
                break
        driver.finish(assignment.trial, Outcome(State.COMPLETED))
        trained.append(assignment.config)
    return trained


def never_killed(experiment: Experiment, folder: Path) -> list[TrialRecord]:
    """The same search without Ray, in one go."""
    options = experiment.options
    pruner = options.scheduler.build(experiment.config.train.epochs)
    study = TrialStudy.create(folder / "study", "whole", experiment.space, options.sampler, pruner)
    study.enqueue(experiment.study().record(0).params, "paper")
    driver = Driver(study, experiment.config, options.trials, folder / "trials")
    train_with(driver)
    return study.records()


def story(records: list[TrialRecord]) -> list[Any]:
    """What the trials came to, without the clock."""
    return [(record.id, record.state, record.params, record.values) for record in records]
