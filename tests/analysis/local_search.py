"""A real search without Ray: the driver hands out trials, and they train one after the other in this process."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from u2pl_ray.config.schema import Config
from u2pl_ray.search.cluster.capacity import Fit
from u2pl_ray.search.driver.assignment import Outcome
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.execution.failures import classify
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.options import Options
from u2pl_ray.search.experiment.plan import Plan
from u2pl_ray.search.samplers.registry import SamplerChoice
from u2pl_ray.search.schedulers.registry import SchedulerChoice
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.space.paper_setting import paper_setting
from u2pl_ray.search.storage.place import Folder
from u2pl_ray.search.study.trial_record import State
from u2pl_ray.train.loop import Worker
from u2pl_ray.train.session import LocalSession

SETTINGS = [
    "model.normalization=group",
    "optim.lr=0.05",
    "optim.head_multiplier=1",
    "method.unsupervised_weight=0.3",
    "method.memory_bank.capacity=4096",
    "train.epochs=5",
    "train.steps_per_epoch=4",
]
"""Learns something in seconds: the quickstart's, shortened."""


class _Stopped(Exception):
    pass


def create(
    storage: Path,
    config: Config,
    space: str,
    *,
    trials: int,
    name: str = "here",
    scheduler: str = "none",
    baselines: tuple[str, ...] = (),
) -> Experiment:
    """An experiment on disk in which nothing has run."""
    searched = parse_space(space, "space.yaml")
    paper, notes = paper_setting(searched, config)
    options = Options(trials, SamplerChoice(), SchedulerChoice(scheduler), baselines=baselines)
    return Plan(name, Folder(storage / name), config, searched, options, Fit(1, False, ""), paper, notes).create()


def run(experiment: Experiment, trials: int | None = None) -> Experiment:
    """Train up to `trials` of its trials here."""
    driver = Driver(experiment.study(), experiment.config, experiment.options.trials, experiment.folder / "trials")
    left = experiment.options.trials if trials is None else trials
    while left and (assignment := driver.next()) is not None:
        left -= 1
        driver.finish(assignment.trial, _train(driver, assignment.trial, assignment.config))
    experiment.write_best()
    return experiment


def _train(driver: Driver, trial: str, config: Config) -> Outcome:
    def report(metrics: Mapping[str, Any]) -> None:
        if driver.report(trial, metrics):
            raise _Stopped

    try:
        Worker(config, LocalSession(None, report), torch.device("cpu")).run()
    except _Stopped:
        return Outcome(State.COMPLETED)
    except Exception as error:
        return classify(error)
    return Outcome(State.COMPLETED)
