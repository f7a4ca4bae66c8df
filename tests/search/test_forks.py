"""Population-based training against trainings that are functions of their settings and their own past."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.assignment import Assignment, Outcome
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.samplers.registry import SamplerChoice
from u2pl_ray.search.schedulers.population import perturb
from u2pl_ray.search.schedulers.registry import SchedulerChoice
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.storage.layout import START
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.study.trial_record import State, TrialRecord
from u2pl_ray.search.trials.epoch_log import read_epochs

EPOCHS, POPULATION = 9, 6
TEMPERATURE = "method.contrastive.temperature"
CHOICE = SchedulerChoice("pbt", {"interval": 2, "quantile": 0.34, "warmup": 1})
"""Decisions after epochs 3, 5 and 7."""


class Cluster:
    """Runs `slots` trials in turn, an epoch each; every checkpoint is a file with what was learned so far."""

    def __init__(self, folder: Path, space: Space, base: Config, slots: int = 1) -> None:
        self.folder, self.space, self.base, self.slots = folder, space, base, slots
        self.running: list[Assignment] = []
        self.reports = 0
        self.open()

    def open(self) -> None:
        """Start the driver, on what is on disk."""
        arguments = (self.folder / "study", "a", self.space, SamplerChoice("random", 1))
        made = TrialStudy.open if (self.folder / "study").exists() else TrialStudy.create
        study = made(*arguments, CHOICE.build(EPOCHS))
        self.driver = Driver(study, self.base, POPULATION, self.folder / "trials")
        self.running = []

    def run(self, interrupt_every: int = 0) -> list[TrialRecord]:
        """To the end."""
        while True:
            while len(self.running) < self.slots and (assignment := self.driver.next()) is not None:
                self.running.append(assignment)
            if not self.running:
                return self.driver.study.records()
            for assignment in list(self.running):
                if self.epoch(assignment):
                    self.running.remove(assignment)
            if interrupt_every and self.reports % interrupt_every == 0:
                self.open()

    def epoch(self, assignment: Assignment) -> bool:
        """Train an epoch; whether the trial is over."""
        self.reports += 1
        trial = self.folder / "trials" / assignment.trial
        own = sorted((trial / "train").glob("epoch_*"))
        start = trial / assignment.start if assignment.start else None
        state = {"epochs": 0, "learned": 0.0}
        if own or start:
            state = json.loads(((own[-1] if own else start) / "state.json").read_text())  # type: ignore[operator]
        distance = abs(math.log(assignment.config.method.contrastive.temperature / 0.5))
        state = {"epochs": state["epochs"] + 1, "learned": state["learned"] + math.exp(-distance)}
        new = trial / "train" / f"epoch_{state['epochs']:05d}"
        new.mkdir(parents=True)
        (new / "state.json").write_text(json.dumps(state))
        for old in own[:-1]:
            shutil.rmtree(old)
        metrics = {
            "training_iteration": state["epochs"],
            "val/miou": state["learned"] / EPOCHS,
            "checkpoint": f"train/{new.name}",
        }
        if self.driver.report(assignment.trial, metrics):
            return True
        if state["epochs"] == EPOCHS:
            self.driver.finish(assignment.trial, Outcome(State.COMPLETED))
            return True
        return False


@pytest.mark.parametrize("slots", [1, 3])
def test_forks_take_the_place_of_the_last(tmp_path: Path, space: Space, base: Config, slots: int) -> None:
    cluster = Cluster(tmp_path, space, base, slots)
    records = cluster.run()
    assert {record.state for record in records} == {State.COMPLETED, State.STOPPED}
    stopped = {record.number for record in records if record.state == State.STOPPED}
    forks = [record for record in records if record.fork is not None]
    assert len(records) - len(forks) == POPULATION
    assert stopped
    assert sorted(record.fork.replaces for record in forks) == sorted(stopped)  # type: ignore[union-attr]
    assert cluster.reports == POPULATION * EPOCHS  # not an epoch more than without forks
    assert cluster.driver.unfinished() == 0
    for record in forks:
        assert record.fork is not None
        parent, epoch = records[record.fork.parent], record.fork.epoch
        assert records[record.fork.replaces].epochs == epoch in (3, 5, 7)
        assert parent.values[epoch] > records[record.fork.replaces].values[epoch]
        assert record.note == f"fork of {parent.id} after epoch {epoch}"
        shared = {past: parent.values[past] for past in range(1, epoch + 1)}
        assert {past: record.values[past] for past in shared} == shared
        if epoch + 1 in record.values:  # goes on from what its parent had learned
            assert 0 < record.values[epoch + 1] - parent.values[epoch] <= 1 / EPOCHS + 1e-9
        ratio = abs(math.log(record.params[TEMPERATURE] / parent.params[TEMPERATURE])) / math.log(2.0 / 0.05)
        assert ratio == pytest.approx(0.1) or record.params[TEMPERATURE] in (0.05, 2.0)
        rows = read_epochs(tmp_path / "trials" / record.id / "epochs.jsonl")
        assert [row["training_iteration"] for row in rows] == list(range(1, record.epochs + 1))
        assert not (tmp_path / "trials" / record.id / START).exists()  # finished


def story(records: list[TrialRecord]) -> list[Any]:
    return [(record.id, record.state, record.params, record.values, record.fork) for record in records]


@pytest.mark.parametrize("every", [1, 2, 5])
def test_interrupted_it_is_the_same(tmp_path: Path, space: Space, base: Config, every: int) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "pieces").mkdir()
    expected = story(Cluster(tmp_path / "whole", space, base).run())
    assert story(Cluster(tmp_path / "pieces", space, base).run(every)) == expected


def test_a_fork_owns_its_start(tmp_path: Path, space: Space, base: Config) -> None:
    """Its parent's folder may go as soon as it exists."""
    cluster = Cluster(tmp_path, space, base)
    while (assignment := cluster.driver.next()) is not None and assignment.start is None:
        while not cluster.epoch(assignment):
            pass
    assert assignment is not None
    (record,) = (each for each in cluster.driver.study.records() if each.fork is not None)
    assert record.fork is not None
    shutil.rmtree(tmp_path / "trials" / f"{record.fork.parent:04d}")
    cluster.open()  # also after an interruption
    again = cluster.driver.next()
    assert again == assignment
    assert json.loads((tmp_path / "trials" / again.trial / START / "state.json").read_text())["epochs"] == 3


def test_a_fork_without_its_parents_checkpoint_fails_in_one_line(tmp_path: Path, space: Space, base: Config) -> None:
    cluster = Cluster(tmp_path, space, base)
    while not cluster.driver.forks.due():
        assignment = cluster.driver.next()
        assert assignment is not None
        while not cluster.epoch(assignment):
            pass
    cluster.driver.forks.start()
    for kept in (tmp_path / "trials").glob("*/kept"):
        shutil.rmtree(kept)
    cluster.open()
    assignment = cluster.driver.next()
    assert assignment is not None
    assert assignment.start is None
    (record,) = (each for each in cluster.driver.study.records() if each.fork is not None)
    assert (record.state, record.reason) == (State.FAILED, "error")
    assert "is gone" in record.detail


def test_perturbed_settings_stay_in_their_ranges(space: Space) -> None:
    settings = {
        "method.memory_bank.capacity": 20000.0,
        TEMPERATURE: 0.05,
        "method.alpha.kind": space.parameters["method.alpha.kind"].encode("linear"),
    }
    seen = [perturb(settings, space.distributions, 0.1, seed) for seed in range(20)]
    assert {round(moved[TEMPERATURE], 4) for moved in seen} == {0.05, round(0.05 * 40**0.1, 4)}
    assert {moved["method.alpha.kind"] for moved in seen} == {settings["method.alpha.kind"]}
    assert all(1000 <= moved["method.memory_bank.capacity"] <= 20000 for moved in seen)
    assert perturb(settings, space.distributions, 0.1, 3) == seen[3]
