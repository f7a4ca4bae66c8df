"""Which checkpoints stay, and trials that broke and run again; over a training that is a function."""

from pathlib import Path
from typing import Any

import pytest

from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.assignment import Assignment, Outcome
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.listeners.base import Listeners
from u2pl_ray.search.samplers.registry import SamplerChoice
from u2pl_ray.search.schedulers.registry import SchedulerChoice
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.study.trial_record import State
from u2pl_ray.search.trials.epoch_log import read_epochs
from u2pl_ray.search.trials.retention import Keeper, discard_checkpoints

EPOCHS = 9


def open_driver(folder: Path, space: Space, base: Config, trials: int, keep: int = 2) -> Driver:
    arguments = (folder / "study", "a", space, SamplerChoice("random", 1), SchedulerChoice("none").build(EPOCHS))
    study = TrialStudy.open(*arguments) if (folder / "study").exists() else TrialStudy.create(*arguments)
    keeper = Keeper(study, str(folder / "trials"), keep)
    return Driver(study, base, trials, folder / "trials", Listeners([keeper]))


def train(driver: Driver, assignment: Assignment, value: float, epochs: int = EPOCHS) -> None:
    """Report `epochs` epochs, the last of them with this value, and leave a checkpoint."""
    stored = driver.folder / assignment.trial / "train" / f"epoch_{epochs:05d}"
    stored.mkdir(parents=True, exist_ok=True)
    (stored / "checkpoint.pt").write_text("weights")
    for epoch in range(assignment.reported_epochs + 1, epochs + 1):
        driver.report(assignment.trial, {"training_iteration": epoch, "val/miou": value * epoch / EPOCHS})


def run(driver: Driver, value: float) -> str:
    assignment = driver.next()
    assert assignment is not None
    train(driver, assignment, value)
    return assignment.trial


def with_checkpoints(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("trials/*/train"))


def test_the_best_finished_trials_keep_theirs_and_so_does_who_runs(tmp_path: Path, space: Space, base: Config) -> None:
    driver = open_driver(tmp_path, space, base, 9)
    running = driver.next()
    assert running is not None
    train(driver, running, 0.0, epochs=1)
    for value in (0.3, 0.9, 0.1, 0.5, 0.2):
        run(driver, value)
        kept = with_checkpoints(tmp_path)
        assert running.trial in kept
        best = driver.study.best()
        assert best is not None
        assert best.id in kept
        assert len(kept) <= 1 + 2 + 1  # who runs, the best two, and who has just ended
    driver.listeners.close()
    assert with_checkpoints(tmp_path) == ["0000", "0002", "0004"]
    assert len(read_epochs(tmp_path / "trials" / "0003" / "epochs.jsonl")) == EPOCHS  # what it reported stays


def test_what_may_run_again_keeps_its_checkpoint_until_it_has(tmp_path: Path, space: Space, base: Config) -> None:
    driver = open_driver(tmp_path, space, base, 9)
    for value in (0.1, 0.2, 0.3):
        run(driver, value)
    broken = driver.next()
    assert broken is not None
    train(driver, broken, 0.0, epochs=8)
    driver.finish(broken.trial, Outcome(State.FAILED, "environment", "no space left"))
    run(driver, 0.4)
    driver.listeners.close()
    assert with_checkpoints(tmp_path) == ["0002", "0003", "0004"]

    driver = open_driver(tmp_path, space, base, 9)
    assert driver.retry_errored(("environment",)) == ["0003"]
    driver.listeners.close()  # the retry is queued, and has nothing yet
    again = driver.next()
    assert again is not None
    assert (again.reported_epochs, with_checkpoints(tmp_path)) == (8, ["0002", "0003", "0004", "0005"])
    train(driver, again, 0.5)
    driver.listeners.close()
    assert with_checkpoints(tmp_path) == ["0004", "0005"]


def test_of_what_may_run_again_the_latest_keep_theirs(tmp_path: Path, space: Space, base: Config) -> None:
    driver = open_driver(tmp_path, space, base, 9)
    for reason, epochs in (("error", 3), ("lost", 3), ("environment", 2), ("nan", 3), ("error", 0)):
        assignment = driver.next()
        assert assignment is not None
        train(driver, assignment, 0.5, epochs)
        driver.finish(assignment.trial, Outcome(State.FAILED, reason, "broke"))
    for value in (0.1, 0.2, 0.3):
        run(driver, value)
    driver.listeners.close()
    assert with_checkpoints(tmp_path) == ["0001", "0002", "0006", "0007"]


def test_a_completed_trial_is_not_pushed_out_by_failed_ones(tmp_path: Path, space: Space, base: Config) -> None:
    driver = open_driver(tmp_path, space, base, 4)
    completed = run(driver, 0.1)
    for _ in range(3):
        assignment = driver.next()
        assert assignment is not None
        train(driver, assignment, 0.9, epochs=5)
        driver.finish(assignment.trial, Outcome(State.FAILED, "error", "broke"))
    discard_checkpoints(driver.study.records(), True, str(tmp_path / "trials"), keep=1)
    assert with_checkpoints(tmp_path) == [completed, "0003"]  # which may run again
    discard_checkpoints(driver.study.records(), True, str(tmp_path / "trials"), keep=0, spare=[completed])
    assert with_checkpoints(tmp_path) == [completed]


@pytest.mark.parametrize("reason", ["error", "lost"])
def test_what_broke_runs_again_if_asked(tmp_path: Path, space: Space, base: Config, reason: str) -> None:
    driver = open_driver(tmp_path, space, base, 2)
    first = driver.next()
    assert first is not None
    train(driver, first, 0.5, epochs=4)
    driver.finish(first.trial, Outcome(State.FAILED, reason, "no space left"))
    run(driver, 0.3)
    assert driver.next() is None

    driver = open_driver(tmp_path, space, base, 2)
    assert driver.next() is None  # only if asked
    assert driver.retry_errored() == ["0000"]
    assert driver.unfinished() == 1
    again = driver.next()
    assert again is not None
    assert (again.trial, again.config, again.reported_epochs) == ("0002", first.config, 4)
    assert (tmp_path / "trials" / "0002" / "train" / "epoch_00004" / "checkpoint.pt").exists()
    train(driver, again, 0.5)
    old, _, new = driver.study.records()
    assert (old.state, old.reason, old.detail, old.epochs) == (State.FAILED, reason, "no space left", 4)
    assert (new.state, new.note, list(new.values)) == (State.COMPLETED, "retry of 0000", list(range(1, EPOCHS + 1)))
    assert driver.unfinished() == 0
    assert driver.next() is None
    assert driver.retry_errored() == []  # once


@pytest.mark.parametrize(
    "outcome", [Outcome(State.FAILED, "nan", "diverged"), Outcome(State.INFEASIBLE, "memory", "too large")]
)
def test_what_would_fail_again_does_not(tmp_path: Path, space: Space, base: Config, outcome: Any) -> None:
    driver = open_driver(tmp_path, space, base, 1)
    assignment = driver.next()
    assert assignment is not None
    driver.finish(assignment.trial, outcome)
    assert driver.retry_errored() == []


def test_a_setup_that_was_at_fault_can_be_retried(tmp_path: Path, space: Space, base: Config) -> None:
    driver = open_driver(tmp_path, space, base, 5)
    for _ in range(3):
        assignment = driver.next()
        assert assignment is not None
        driver.finish(assignment.trial, Outcome(State.FAILED, "error", "no such file"))
    assert driver.next() is None
    assert driver.given_up
    driver = open_driver(tmp_path, space, base, 5)
    assert driver.retry_errored() == ["0000", "0001", "0002"]
    assert [run(driver, 0.5) for _ in range(5)] == ["0003", "0004", "0005", "0006", "0007"]
    assert driver.next() is None
