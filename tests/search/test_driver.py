"""The driver against a training that is a function, killed and continued at every point where it could be."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.search.kill_loop import KILL_POINTS, kill_until_it_ends
from u2pl_ray.config import overrides
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.assignment import Assignment, Outcome
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.listeners.base import Listener, Listeners
from u2pl_ray.search.samplers.registry import SamplerChoice
from u2pl_ray.search.schedulers.registry import SchedulerChoice
from u2pl_ray.search.space.file import parse_space
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


@pytest.mark.parametrize("point", KILL_POINTS)
def test_killed_before_and_after_every_write_it_is_the_same_search(
    point: str, tmp_path: Path, space: Space, base: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    search(open_driver(whole, space, base))
    expected = story(whole, space)
    assert {state for state, *_ in expected} == {State.COMPLETED, State.STOPPED}

    pieces = tmp_path / "pieces"
    checkpoint: dict[str, Any] = {}
    pieces.mkdir()
    open_study(pieces, space)
    kills = kill_until_it_ends(
        [KILL_POINTS[point]],
        monkeypatch,
        lambda: search(open_driver(pieces, space, base), checkpoint),
        lambda kills: 1 + kills % 5,
    )
    assert kills > 20
    assert story(pieces, space) == expected


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


def test_events(tmp_path: Path, space: Space, base: Config) -> None:
    recorder = Recorder()
    driver = open_driver(tmp_path, space, base, 1, recorder)
    assignment = driver.next()
    assert assignment is not None
    driver.report("0000", metrics(assignment.config, 1))
    driver = open_driver(tmp_path, space, base, 1, recorder)
    search(driver)
    assert recorder.events == [
        ("started", "0000", 0),
        ("epoch", "0000", 1),
        ("started", "0000", 1),
        ("known", "0000", 1),
        *(("epoch", "0000", epoch) for epoch in range(2, EPOCHS + 1)),
        ("finished", "0000", State.COMPLETED),
    ]


def test_a_listener_that_raises_does_no_harm(tmp_path: Path, space: Space, base: Config) -> None:
    class Broken(Listener):
        def epoch_done(self, *arguments: Any) -> None:
            raise RuntimeError("broken")

    recorder = Recorder()
    search(open_driver(tmp_path, space, base, 2, Broken(), recorder))
    assert ("finished", "0000", State.COMPLETED) in recorder.events


def test_never_more_than_asked_and_running_ones_first(tmp_path: Path, space: Space, base: Config) -> None:
    driver = open_driver(tmp_path, space, base, 3)
    assert [driver.next().trial for _ in range(2)] == ["0000", "0001"]  # type: ignore[union-attr]
    driver = open_driver(tmp_path, space, base, 3)
    assignments = [driver.next() for _ in range(4)]
    assert [assignment and assignment.trial for assignment in assignments] == ["0000", "0001", "0002", None]
    assert driver.unfinished() == 3


def test_outcomes(tmp_path: Path, space: Space, base: Config) -> None:
    driver = open_driver(tmp_path, space, base, 5)
    outcomes = [
        COMPLETED,
        Outcome(State.FAILED, "error", "broke"),
        Outcome(State.INFEASIBLE, "memory", "too large"),
        Outcome(State.FAILED, "nan", "diverged"),
        Outcome(State.FAILED, "lost", "gone"),
    ]
    for outcome in outcomes:
        assignment = driver.next()
        assert assignment is not None
        driver.report(assignment.trial, metrics(assignment.config, 1))
        driver.finish(assignment.trial, outcome)
    records = driver.study.records()
    assert [(record.state, record.reason) for record in records] == [
        (State.FAILED, "error"),  # ended without its last epoch
        (State.FAILED, "error"),
        (State.INFEASIBLE, "memory"),
        (State.FAILED, "nan"),
        (State.FAILED, "lost"),
    ]
    assert records[0].detail == "ended after 1 of 9 epochs"
    assert driver.unfinished() == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "x"])
def test_an_objective_that_is_no_number_fails_the_trial_at_once(
    tmp_path: Path, space: Space, base: Config, value: Any
) -> None:
    driver = open_driver(tmp_path, space, base)
    driver.next()
    assert driver.report("0000", {"training_iteration": 1, "val/miou": value})
    record = driver.study.record(0)
    assert (record.state, record.reason, record.values) == (State.FAILED, "nan", {})


def test_a_missing_objective_fails_the_trial_and_names_the_nearest(tmp_path: Path, space: Space, base: Config) -> None:
    driver = open_driver(tmp_path, space, base)
    driver.next()
    assert driver.report("0000", {"training_iteration": 1, "val/mioo": 0.5})
    assert "did you mean 'val/mioo'" in driver.study.record(0).detail


def test_reports_that_come_twice_or_late(tmp_path: Path, space: Space, base: Config) -> None:
    driver = open_driver(tmp_path, space, base)
    assignment = driver.next()
    assert assignment is not None
    config = assignment.config
    for epoch in (1, 1, 2, 1, 3):
        assert not driver.report("0000", metrics(config, epoch))
    assert list(driver.study.record(0).values) == [1, 2, 3]
    driver.finish("0000", Outcome(State.FAILED, "error"))
    assert driver.report("0000", metrics(config, 4))
    assert list(driver.study.record(0).values) == [1, 2, 3]


def test_a_report_the_study_missed_is_made_up_for(
    tmp_path: Path, space: Space, base: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = open_driver(tmp_path, space, base)
    assignment = driver.next()
    assert assignment is not None

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(driver.study, "report", full)
        with pytest.raises(OSError, match="No space"):
            driver.report("0000", metrics(assignment.config, 1))
    driver.report("0000", metrics(assignment.config, 2))
    assert list(driver.study.record(0).values) == [1, 2]


def test_invalid_combinations_never_start_and_do_not_count(tmp_path: Path, base: Config) -> None:
    low, high = "method.contrastive.low_rank: {min: 1, max: 9}", "method.contrastive.high_rank: {min: 2, max: 9}"
    space = parse_space(f"parameters: {{{low}, {high}}}", "s")
    driver = open_driver(tmp_path, space, base, 6)
    search(driver)
    records = driver.study.records()
    invalid = [record for record in records if record.reason == "invalid"]
    assert len(records) - len(invalid) == 6
    assert invalid
    for record in records:
        low_rank, high_rank = record.params.values()
        assert (record in invalid) == (low_rank >= high_rank)
        assert (record in invalid) != (tmp_path / "trials" / record.id).exists()
        assert record not in invalid or record.state == State.INFEASIBLE


def test_what_was_infeasible_is_not_started_again(tmp_path: Path, base: Config) -> None:
    space = parse_space("parameters: {method.alpha.kind: {values: [linear, cosine, constant]}}", "s")
    driver = open_driver(tmp_path, space, base, 8)
    while (assignment := driver.next()) is not None:
        if assignment.config.method.alpha.kind == "linear":
            driver.finish(assignment.trial, Outcome(State.INFEASIBLE, "memory"))
        else:
            train(driver, assignment, {})
    started = [record for record in driver.study.records() if record.reason != "invalid"]
    assert len(started) == 8
    assert [record.params["method.alpha.kind"] for record in started].count("linear") == 1


def test_a_space_that_runs_dry_ends_the_search(tmp_path: Path, base: Config) -> None:
    space = parse_space("parameters: {method.alpha.kind: {values: [linear]}}", "s")
    recorder = Recorder()
    driver = open_driver(tmp_path, space, base, 3, recorder)
    assert driver.next() is not None
    driver.finish("0000", Outcome(State.INFEASIBLE, "memory"))
    assert driver.next() is None
    assert "100 proposals in a row" in driver.given_up
    assert recorder.events[-1][0] == "note"


def test_a_search_whose_trials_all_fail_alike_gives_up(tmp_path: Path, space: Space, base: Config) -> None:
    driver = open_driver(tmp_path, space, base, 9)
    for _ in range(3):
        assignment = driver.next()
        assert assignment is not None
        driver.finish(assignment.trial, Outcome(State.FAILED, "error", "no such file: data"))
    assert driver.next() is None
    assert driver.given_up == "the first 3 trials failed alike: no such file: data"
    assert driver.unfinished() == 6


def test_each_trials_configuration_is_on_disk(tmp_path: Path, space: Space, base: Config) -> None:
    from u2pl_ray.config import overrides

    driver = open_driver(tmp_path, space, base)
    assignment = driver.next()
    assert assignment is not None
    assert overrides.load(tmp_path / "trials" / "0000" / "config.yaml") == assignment.config


def test_a_proposals_configuration_is_validated_once(
    tmp_path: Path, space: Space, base: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is asked for: at every epoch, and for the trial's process."""
    validated: list[Any] = []
    validate = overrides.validate

    def counting(tree: Mapping[str, Any], source: str = "config") -> Config:
        validated.append(tree)
        return validate(tree, source)

    driver = open_driver(tmp_path, space, base, 4)
    monkeypatch.setattr(overrides, "validate", counting)
    search(driver)
    assert len(driver.study.records()) == 4
    assert len(validated) == 4
