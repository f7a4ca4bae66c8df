"""How trials end that do not come to their last epoch, and when the driver starts no further ones."""

import math
from pathlib import Path
from typing import Any

import pytest

from tests.search.driven import COMPLETED, Recorder, metrics, open_driver, search, train
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.assignment import Outcome
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study.trial_record import State


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


def test_errors_that_differ_before_an_epoch_end_the_search_too(tmp_path: Path, space: Space, base: Config) -> None:
    """Though a trial succeeded before, and each error names another process; they can be retried afterwards."""
    driver = open_driver(tmp_path, space, base, 50)
    first = driver.next()
    assert first is not None
    train(driver, first, {})
    failed = 0
    while (assignment := driver.next()) is not None:
        failed += 1
        driver.finish(assignment.trial, Outcome(State.FAILED, "error", f"rank 0 pid {failed} failed"))
    assert failed == 10
    assert driver.given_up == "the last 10 trials failed before their first epoch, the last one: rank 0 pid 10 failed"
    again = open_driver(tmp_path, space, base, 50)
    assert len(again.retry_errored()) == 10
    assert again.next() is not None
