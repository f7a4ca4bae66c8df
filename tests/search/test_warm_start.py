"""What a new search is told of earlier ones; without Ray."""

from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from u2pl_ray.config import overrides
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.experiment.warm_start import gather
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.space.space import Space

pytestmark = pytest.mark.usefixtures("two_cpus")

TEMPERATURE = "method.contrastive.temperature"
CAPACITY = "method.memory_bank.capacity"
KIND = "method.alpha.kind"


@pytest.fixture
def earlier(tmp_path: Path, base: Config, space: Space) -> Experiment:
    """An experiment with a trial of every end: the paper's, stopped, NaN, out of memory, broken, and one running."""
    made = plan_search(base, space, name="old", trials=9, storage_path=tmp_path).create()
    study = made.study()
    for temperature, capacity in [(0.1, 1000), (1.9, 2000), (0.2, 3000), (0.3, 4000), (0.4, 5000)]:
        study.enqueue({TEMPERATURE: temperature, CAPACITY: capacity, KIND: "linear"}, "mine")
    for _ in range(6):
        study.start_queued()
    for number in range(6):
        study.report(number, 1, 0.1 * number)
    study.complete(0)
    study.stop(1)
    study.fail(2, "nan")
    study.fail(3, "memory")
    study.fail(4, "error", "broke")
    return made


def told(base: Config, text: str, folder: Path) -> tuple[dict[str, Any], list[str]]:
    found = gather(["old"], parse_space(text, "s"), base, folder)
    return {row["trial"]: row for row in found.trials}, list(found.notes)


def test_the_same_space(tmp_path: Path, base: Config, space: Space, earlier: Experiment) -> None:
    rows, notes = told(base, space.text, tmp_path)
    assert {trial: (row["state"], row["reason"]) for trial, row in rows.items()} == {
        "0000": ("COMPLETED", ""),
        "0001": ("STOPPED", ""),
        "0002": ("FAILED", "nan"),
        "0003": ("INFEASIBLE", "memory"),
    }
    assert notes == ["old: 4 of 5 finished trials given to the sampler; left out: 1 that failed"]


def test_outside_the_ranges(tmp_path: Path, base: Config, earlier: Experiment) -> None:
    text = f"parameters: {{{TEMPERATURE}: {{min: 0.15, max: 1.0}}, {CAPACITY}: {{min: 1, max: 90000}}}}"
    rows, notes = told(base, text, tmp_path)
    assert set(rows) == {"0000", "0003"}
    assert notes == ["old: 2 of 5 finished trials given to the sampler; left out: 2 outside the ranges, 1 that failed"]
    assert rows["0000"]["params"] == {TEMPERATURE: 0.5, CAPACITY: 20000}


def test_what_was_fixed_then_has_the_value_it_had(tmp_path: Path, base: Config, earlier: Experiment) -> None:
    text = (
        f"parameters: {{{TEMPERATURE}: {{min: 0.01, max: 3.0}}, {CAPACITY}: {{min: 1, max: 90000}}, "
        f"{KIND}: {{values: [cosine, linear]}}, data.scale: {{values: [[1.0, 1.0], [0.5, 2.0]]}}}}"
    )
    rows, _ = told(base, text, tmp_path)
    assert rows["0001"]["params"] == {TEMPERATURE: 0.1, CAPACITY: 1000, KIND: "linear", "data.scale": [0.5, 2.0]}


def test_what_is_fixed_now_must_have_had_that_value(tmp_path: Path, base: Config, earlier: Experiment) -> None:
    rows, notes = told(
        base, f"parameters: {{{TEMPERATURE}: {{min: 0.01, max: 3.0}}, {CAPACITY}: {{value: 1000}}}}", tmp_path
    )
    assert set(rows) == {"0001"}
    assert "3 with other settings than this search's" in notes[0]


def test_what_else_differs_is_said(tmp_path: Path, base: Config, space: Space, earlier: Experiment) -> None:
    _, notes = told(overrides.apply(base, {"train.epochs": 80, "optim.lr": 0.5}), space.text, tmp_path)
    assert notes[1] == "old: its results may not compare: it has optim.lr=0.001, train.epochs=9"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"warm_start": ["odl"]}, ["no such experiment", "did you mean 'old'"]),
        ({"warm_start": ["old"], "sampler": "random"}, ["random learns nothing", "use tpe"]),
    ],
)
def test_refused(
    tmp_path: Path, base: Config, space: Space, earlier: Experiment, more: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        plan_search(base, space, name="new", trials=3, storage_path=tmp_path, **more)
    for word in words:
        assert word in str(caught.value)


def test_another_metric_is_refused(tmp_path: Path, base: Config, earlier: Experiment) -> None:
    text = f"parameters: {{{TEMPERATURE}: {{min: 0.01, max: 3.0}}}}\nmetric: {{name: val/teacher/miou, goal: maximize}}"
    with pytest.raises(UserError, match="old: compares its trials by val/miou, this search by val/teacher/miou"):
        told(base, text, tmp_path)


def test_the_sampler_learns_from_them_and_the_study_does_not_hold_them(
    tmp_path: Path, base: Config, space: Space
) -> None:
    """Fifty earlier trials have their best at 0.1: proposals go there at once, and without them anywhere."""
    old = plan_search(base, space, name="old", trials=50, storage_path=tmp_path, sampler="random").create().study()
    for _ in range(50):
        record = old.start_queued() or old.start_new()
        old.report(record.number, 1, -abs(record.params[TEMPERATURE] - 0.1))
        old.complete(record.number)
    near = {}
    for name, names in {"cold": [], "warm": ["old"]}.items():
        plan = plan_search(base, space, name=name, trials=9, storage_path=tmp_path, warm_start=names)
        assert ("warm start   old: 50 of 50 finished trials given to the sampler" in plan.lines()) == bool(names)
        plan.create()
        study = Experiment.open(name, tmp_path).study()
        study.start_queued()
        proposed = [study.start_new().params[TEMPERATURE] for _ in range(8)]
        near[name] = sum(0.05 <= value <= 0.2 for value in proposed)
        assert [trial.state for trial in study.study.trials] == [TrialState.RUNNING] * 9
    assert near["warm"] >= 6 > near["cold"]
