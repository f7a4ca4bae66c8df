"""Trainings beside a search: what no sampler, scheduler or ranking may see."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.search.driven import EPOCHS, open_driver, open_study, search, story
from tests.search.kill_loop import Killed
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.assignment import Assignment, Outcome
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.experiment.baselines import choose_baselines, companion
from u2pl_ray.search.experiment.experiment import Summary
from u2pl_ray.search.experiment.repair import mend_study
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.space.paper_setting import paper_setting
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study.companion import Companion, Kind
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.study.trial_record import State
from u2pl_ray.search.trials.retention import discard_checkpoints

REPLICATE = Companion(Kind.REPLICATE, {"seed": 1000}, 0)


def with_companions(folder: Path, space: Space) -> None:
    """A study in which a supervised training and a replicate wait behind the first setting."""
    study = open_study(folder, space)
    first = paper_setting(space, Config())[0] or dict.fromkeys(space.parameters, 0.5)
    study.enqueue(first, "paper")
    study.enqueue({}, "supervised", companion=companion("supervised"))
    study.enqueue(first, "0000 again", companion=REPLICATE)


def queued_alone(folder: Path, space: Space) -> None:
    open_study(folder, space).enqueue(dict.fromkeys(space.parameters, 0.5), "paper")


@pytest.fixture
def one(tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        (tmp_path / name).mkdir()
        return tmp_path / name

    return make


def test_a_search_is_the_same_with_companions_but_for_its_numbers(one: Callable[[str], Path], base: Config) -> None:
    """Random proposals are a function of the trial's number, so these are compared with the same numbers."""
    space = parse_space("parameters: {method.contrastive.temperature: {values: [0.5]}}", "s")
    alone, beside = one("alone"), one("beside")
    queued_alone(alone, space)
    with_companions(beside, space)
    search(open_driver(alone, space, base, 4))
    search(open_driver(beside, space, base, 4))
    assert story(beside, space) == story(alone, space)


def test_what_each_trains(tmp_path: Path, space: Space, base: Config) -> None:
    with_companions(tmp_path, space)
    driver = open_driver(tmp_path, space, base, 3)
    assignments = [driver.next() for _ in range(4)]
    paper, supervised, again, new = (it.config for it in assignments if it is not None)
    assert (supervised.method.name, again.method.name, new.method.name) == ("supervised", "u2pl", "u2pl")
    assert (paper.seed, supervised.seed, again.seed) == (base.seed, base.seed, 1000)
    assert supervised.model_copy(update={"method": base.method}) == base
    assert again.model_copy(update={"seed": base.seed}) == paper
    records = driver.study.all_records()
    assert records[1].params == {}
    assert records[2].params == records[0].params


def test_they_are_not_counted_stopped_or_ranked(tmp_path: Path, space: Space, base: Config) -> None:
    """The supervised training is the worst of all at every epoch, the replicate the best."""
    with_companions(tmp_path, space)
    driver = open_driver(tmp_path, space, base, 8)
    while (assignment := driver.next()) is not None:
        _train(driver, assignment, {"0001": 0.0, "0002": 9.0}.get(assignment.trial))
    everything = driver.study.all_records()
    assert len(driver.study.records()) == 8
    assert len(everything) == 10
    assert [everything[number].state for number in (1, 2)] == [State.COMPLETED, State.COMPLETED]
    best = driver.study.best()
    assert best is not None
    assert best.companion is None
    assert driver.unfinished() == 0


def _train(driver: Driver, assignment: Assignment, value: float | None) -> None:
    for epoch in range(1, EPOCHS + 1):
        told = assignment.config.method.contrastive.temperature if value is None else value
        if driver.report(assignment.trial, {"training_iteration": epoch, "val/miou": told}):
            return
    driver.finish(assignment.trial, Outcome(State.COMPLETED))


def test_the_rungs_do_not_count_them(tmp_path: Path, space: Space, base: Config) -> None:
    """A replicate with the best value at a rung stops no trial of the search."""
    study = open_study(tmp_path, space)
    study.enqueue(paper_setting(space, base)[0], "0000 again", companion=REPLICATE)
    driver = open_driver(tmp_path, space, base, 1)
    for value in (9.0, 0.1):
        assignment = driver.next()
        assert assignment is not None
        _train(driver, assignment, value)
    assert [record.state for record in driver.study.all_records()] == [State.COMPLETED, State.COMPLETED]


def test_killed_while_companions_run(
    one: Callable[[str], Path], space: Space, base: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, pieces = one("whole"), one("pieces")
    for folder in (whole, pieces):
        with_companions(folder, space)
    search(open_driver(whole, space, base, 4))
    checkpoint: dict[str, int] = {}
    for kill in range(7):  # among them: right after each companion started
        reports = [0]
        original = TrialStudy.report

        def report(*arguments: Any, seen: list[int] = reports, kill: int = kill, call: Any = original) -> None:
            seen[0] += 1
            if seen[0] == kill + 1:
                raise Killed
            call(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(TrialStudy, "report", report)
            driver = open_driver(pieces, space, base, 4)
            with pytest.raises(Killed):
                search(driver, checkpoint)
    search(open_driver(pieces, space, base, 4), checkpoint)
    expected = [(it.state, it.settings, it.values) for it in open_study(whole, space).all_records()]
    assert [(it.state, it.settings, it.values) for it in open_study(pieces, space).all_records()] == expected


def test_a_lost_study_is_made_anew_with_them(tmp_path: Path, space: Space, base: Config) -> None:
    with_companions(tmp_path, space)
    driver = open_driver(tmp_path, space, base, 3)
    search(driver)
    before = [(it.state, it.settings, it.note, it.companion) for it in driver.study.all_records()]
    (tmp_path / "study").unlink()
    (tmp_path / "study.jsonl").unlink(missing_ok=True)
    study = open_study(tmp_path, space)
    mend_study(tmp_path, base, lambda anew: study, ("supervised",))
    assert [(it.state, it.settings, it.note, it.companion) for it in study.all_records()] == before


def test_one_that_failed_is_repeated_as_what_it_is(tmp_path: Path, space: Space, base: Config) -> None:
    with_companions(tmp_path, space)
    driver = open_driver(tmp_path, space, base, 1)
    while (assignment := driver.next()) is not None:
        driver.finish(assignment.trial, Outcome(State.FAILED, "lost", "gone"))
    assert driver.retry_errored() == ["0000", "0001", "0002"]
    repeated = [driver.next() for _ in range(3)]
    assert [it.config.method.name for it in repeated if it] == ["u2pl", "supervised", "u2pl"]
    assert [it.config.seed for it in repeated if it] == [base.seed, base.seed, 1000]


def test_baselines_and_repeated_trials_keep_their_checkpoints_and_replicates_do_not(
    tmp_path: Path, space: Space, base: Config
) -> None:
    with_companions(tmp_path, space)
    driver = open_driver(tmp_path, space, base, 2)
    search(driver)
    runs = [tmp_path / "trials" / record.id / "train" for record in driver.study.all_records()]
    for run in runs:
        run.mkdir()
    discard_checkpoints(driver.study.all_records(), True, str(tmp_path / "trials"), 1)
    best = driver.study.best()
    assert best is not None
    assert [run.parent.name for run in runs if run.exists()] == sorted({best.id, "0000", "0001", "0003"})


def test_which_are_trained(base: Config, space: Space) -> None:
    assert choose_baselines(None, space, base) == (("supervised",), [])
    assert choose_baselines(["none"], space, base) == ((), [])
    assert choose_baselines(["oracle", "supervised", "oracle"], space, base)[0] == ("oracle", "supervised")
    supervised = base.model_copy(update={"method": base.method.model_copy(update={"name": "supervised"})})
    assert choose_baselines(None, space, supervised) == ((), [])
    with pytest.raises(UserError, match="--baseline u2pll: there are supervised"):
        choose_baselines(["u2pll"], space, base)


def test_a_search_for_what_a_baseline_does_not_report_has_none(base: Config) -> None:
    text = "metric: {name: train/loss/contrastive, goal: minimize}\nparameters: {optim.lr: {min: 0.1, max: 0.2}}"
    space = parse_space(text, "s")
    baselines, notes = choose_baselines(None, space, base)
    assert baselines == ()
    assert "train/loss/contrastive" in notes[0]
    with pytest.raises(UserError, match="does not report train/loss/contrastive"):
        choose_baselines(["supervised"], space, base)


def test_a_search_of_which_only_a_companion_succeeded_did_not_succeed(
    tmp_path: Path, space: Space, base: Config
) -> None:
    with_companions(tmp_path, space)
    driver = open_driver(tmp_path, space, base, 1)
    while (assignment := driver.next()) is not None:
        if assignment.trial == "0001":
            _train(driver, assignment, 0.5)
        else:
            driver.finish(assignment.trial, Outcome(State.FAILED, "error", "broke"))
    records = driver.study.all_records()
    assert [record.state for record in records] == [State.FAILED, State.COMPLETED, State.FAILED]
    assert not Summary(records, driver.study.best(), True).succeeded
