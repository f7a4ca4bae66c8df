import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from u2pl_ray.config.errors import UserError
from u2pl_ray.search.samplers.registry import SAMPLERS, SamplerChoice
from u2pl_ray.search.schedulers.registry import SchedulerChoice
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.study.trial_record import State

EPOCHS = 9
PAPER = {
    "method.memory_bank.capacity": 20000,
    "method.contrastive.temperature": 0.5,
    "method.alpha.kind": "linear",
}


def create(location: Path | str, space: Space, sampler: str = "tpe", **options: Any) -> TrialStudy:
    choice = SamplerChoice(sampler, 3, options)
    return TrialStudy.create(location, "a", space, choice, SchedulerChoice().build(EPOCHS))


def reopen(study: TrialStudy, location: Path | str) -> TrialStudy:
    return TrialStudy.open(location, "a", study.space, study.sampler, study.pruner)


OPTIONS: dict[str, dict[str, int]] = {
    "nsga2": {"population_size": 4},
    "noisy-gp": {"epochs": EPOCHS},
    "random": {},
    "qmc": {},
}
"""Of the samplers that have no `n_startup_trials`."""


def value(params: dict[str, Any], epoch: int) -> float:
    return -abs(math.log(params["method.contrastive.temperature"] / 0.5)) - 1 / epoch


def train(study: TrialStudy, number: int, epochs: int = EPOCHS) -> None:
    """Train a trial to its end, or to the scheduler's."""
    for epoch in range(1, epochs + 1):
        study.report(number, epoch, value(study.record(number).params, epoch))
        if epoch < EPOCHS and study.should_stop(number):
            return study.stop(number)
    return study.complete(number)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_continued_anywhere_it_proposes_the_same(tmp_path: Path, space: Space, sampler: str) -> None:
    """A study opened anew before every step is the study that was never closed."""
    options = OPTIONS.get(sampler, {"n_startup_trials": 4})
    whole = create(tmp_path / "whole", space, sampler, **options)
    pieces = create(tmp_path / "pieces", space, sampler, **options)
    for study in (whole, pieces):
        study.enqueue(PAPER, "paper")
    for _ in range(10):
        started = whole.start_queued() or whole.start_new()
        train(whole, started.number)
        pieces = reopen(pieces, tmp_path / "pieces")
        again = pieces.start_queued() or pieces.start_new()
        pieces = reopen(pieces, tmp_path / "pieces")
        train(pieces, again.number)
    told = [(record.state, record.params, record.values) for record in whole.records()]
    assert told == [(record.state, record.params, record.values) for record in pieces.records()]
    assert told[0][1] == PAPER
    assert len({str(params) for _, params, _ in told}) == 10


@pytest.mark.parametrize(
    "sampler", [pytest.param(name, marks=[pytest.mark.slow] if name == "gp" else []) for name in SAMPLERS]
)
def test_parallel_proposals_differ(tmp_path: Path, space: Space, sampler: str) -> None:
    """With eight trials pending, all are proposed from one state of knowledge, and none is like another."""
    study = create(tmp_path / "a", space, sampler, **OPTIONS.get(sampler, {"n_startup_trials": 2}))
    for _ in range(8):
        record = study.start_new()
        study.report(record.number, 1, value(record.params, 1))
        study.complete(record.number)
    pending = [study.start_new().params for _ in range(8)]
    assert len({str(params) for params in pending}) == 8
    # Not in the settings' last digits either: no two agree in both ranges.
    places = [
        (round(math.log(params["method.contrastive.temperature"]), 1), params["method.memory_bank.capacity"] // 1000)
        for params in pending
    ]
    assert len(set(places)) >= 5  # the children of a generation share some of their parents' settings


def test_a_queued_trial_that_a_kill_left_half_started(tmp_path: Path, space: Space) -> None:
    study = create(tmp_path / "a", space)
    study.enqueue(PAPER, "paper")
    (waiting,) = study.study.trials
    assert study.record(0).state == State.PENDING
    assert study.record(0).params == PAPER
    study._storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING)
    path = "method.contrastive.temperature"
    study._storage.set_trial_param(waiting._trial_id, path, 0.5, space.parameters[path].distribution)
    study = reopen(study, tmp_path / "a")
    assert study.start_queued() is None
    record = study.complete_proposal(0)
    assert (record.state, record.params, record.note) == (State.RUNNING, PAPER, "paper")
    assert study.study.trials[0].params == PAPER


def test_a_queued_trial_may_leave_settings_to_the_sampler(tmp_path: Path, space: Space) -> None:
    study = create(tmp_path / "a", space)
    study.enqueue({"method.alpha.kind": "cosine"}, "mine")
    record = study.start_queued()
    assert record is not None
    assert set(record.params) == set(PAPER)
    assert record.params["method.alpha.kind"] == "cosine"
    assert record.params["method.memory_bank.capacity"] % 100 == 0


def test_optuna_holds_what_happened(tmp_path: Path, space: Space) -> None:
    study = create(tmp_path / "a", space)
    numbers = [study.start_new().number for _ in range(7)]
    for number in numbers[:5]:
        study.report(number, 1, 0.1 * (number + 1))
    study.report(0, 2, 0.7)
    study.complete(0)
    study.stop(1)
    study.fail(2, "nan", "the loss is nan")
    study.fail(3, "memory", "out of memory")
    study.fail(4, "error", "broke")
    study.fail(5, "lost", "gone")
    trials = study.study.trials
    assert [trial.state for trial in trials] == [
        TrialState.COMPLETE, TrialState.PRUNED, *[TrialState.FAIL] * 4, TrialState.RUNNING,
    ]  # fmt: skip
    assert [trial.value for trial in trials] == [0.7, pytest.approx(0.2), None, None, None, None, None]
    assert [trial.intermediate_values for trial in trials[:2]] == [{1: 0.1, 2: 0.7}, {1: pytest.approx(0.2)}]
    assert [record.state for record in study.records()] == [
        State.COMPLETED, State.STOPPED, State.FAILED, State.INFEASIBLE, State.FAILED, State.FAILED, State.RUNNING,
    ]  # fmt: skip
    assert [record.reason for record in study.records()][2:6] == ["nan", "memory", "error", "lost"]


def test_told_twice_changes_nothing(tmp_path: Path, space: Space) -> None:
    study = create(tmp_path / "a", space)
    number = study.start_new().number
    study.report(number, 1, 0.5)
    study.report(number, 1, 0.9)
    study.complete(number)
    before = study.record(number)
    study.report(number, 2, 0.9)
    study.complete(number)
    study.stop(number)
    study.fail(number, "error")
    assert study.record(number) == before
    assert before.value == 0.5


@pytest.mark.parametrize("maximize", [True, False])
def test_best(tmp_path: Path, maximize: bool) -> None:
    text = "parameters: {optim.lr: {min: 0.1, max: 1.0}}\nmetric: {name: val/miou, goal: %s}"
    study = create(tmp_path / "a", parse_space(text % ("maximize" if maximize else "minimize"), "s"))
    assert study.best() is None
    for value in (0.3, 0.5, 0.1, 0.9, 0.0):
        study.report(study.start_new().number, 1, value)
    assert study.best() == study.record(3 if maximize else 4)  # nobody is complete
    for number in (0, 1, 2):
        study.complete(number)
    study.stop(3)
    study.fail(4, "error")
    assert study.best() == study.record(1 if maximize else 2)


def test_an_objection_is_on_record_and_not_repeated(tmp_path: Path, space: Space) -> None:
    study = create(tmp_path / "a", space)
    record = study.start_new(lambda settings: "no")
    assert (record.state, record.reason, record.detail) == (State.INFEASIBLE, "invalid", "no")
    assert study.start_new().params != record.params


@pytest.mark.parametrize(
    ("sampler", "seed"),
    [("tpe", 0), ("tpe", 1), ("tpe", 2), ("cmaes", 0), pytest.param("gp", 0, marks=pytest.mark.slow)],
)
def test_the_sampler_keeps_away_from_what_is_infeasible(tmp_path: Path, seed: int, sampler: str) -> None:
    """A third of the range runs out of memory. TPE passes over failed trials and would propose there 29 times of 30."""
    space = parse_space("parameters: {optim.lr: {min: 0.1, max: 1.0}, method.alpha.start: {min: 0.0, max: 1.0}}", "s")
    choice = SamplerChoice(sampler, seed, {"n_startup_trials": 5})
    study = TrialStudy.create(tmp_path / "a", "a", space, choice, SchedulerChoice().build(EPOCHS))
    for _ in range(40):
        record = study.start_new()
        lr = record.params["optim.lr"]
        if lr > 0.7:
            study.fail(record.number, "memory")
        else:
            study.report(record.number, 1, -abs(lr - 0.5))
            study.complete(record.number)
    assert sum(record.state == State.INFEASIBLE for record in study.records()[10:]) < 12
    told = {trial.state for trial in study.study.trials if trial.params["optim.lr"] > 0.7}
    assert told == {TrialState.FAIL}


def test_names(tmp_path: Path, space: Space) -> None:
    study = create(tmp_path / "a", space)
    with pytest.raises(UserError, match="exists already"):
        create(tmp_path / "a", space)
    with pytest.raises(UserError, match="the study is gone"):
        reopen(study, tmp_path / "b")
    with pytest.raises(UserError, match="holds no study 'b'"):
        TrialStudy.open(tmp_path / "a", "b", space, study.sampler, study.pruner)


def test_other_storages_by_url(tmp_path: Path, space: Space) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study = create(url, space)
    study.enqueue(PAPER, "paper")
    for _ in range(3):
        train(study, (study.start_queued() or study.start_new()).number)
    assert [record.id for record in reopen(study, url).records()] == ["0000", "0001", "0002"]


def test_the_journal_is_plain_optuna(tmp_path: Path, space: Space) -> None:
    study = create(tmp_path / "a", space)
    train(study, study.start_new().number)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "a")))
    (trial,) = optuna.load_study(study_name="a", storage=storage).trials
    assert trial.params == study.record(0).params
