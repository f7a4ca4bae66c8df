"""More of a search, on the same study; without Ray."""

import json
from pathlib import Path
from typing import Any

import pytest

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.budget import Budget
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.extend import extend
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.space.space import Space

pytestmark = pytest.mark.usefixtures("two_cpus")


WIDER = """
metric: {name: val/miou, goal: maximize}
parameters:
  method.memory_bank.capacity: {distribution: q_log_uniform_values, q: 100, min: 1000, max: 60000}
  method.contrastive.temperature: {distribution: log_uniform_values, min: 0.4, max: 0.6}
  method.alpha.kind: {values: [linear, cosine]}
"""


def search(folder: Path, base: Config, space: Space, **more: Any) -> Experiment:
    arguments: dict[str, Any] = {"name": "a", "trials": 3, "storage_path": folder} | more
    return plan_search(base, space, **arguments).create()


def run_some(experiment: Experiment, count: int) -> None:
    """Trials that end after an epoch, all with different results."""
    study = experiment.study()
    for _ in range(count):
        record = study.start_queued() or study.start_new()
        study.report(record.number, 1, -abs(record.params["method.contrastive.temperature"] - 0.5))
        study.complete(record.number)


def test_more_trials(tmp_path: Path, base: Config, space: Space) -> None:
    extended, _ = extend(search(tmp_path, base, space), 4)
    assert extended.options.trials == Experiment.open("a", tmp_path).options.trials == 7


def test_more_hours_come_on_top_of_the_limit_or_of_what_was_used(tmp_path: Path, base: Config, space: Space) -> None:
    made = search(tmp_path, base, space, budget=Budget(hours=1.0, patience=2))
    run_some(made, 3)
    made.study().study.set_user_attr("session/a", [0.0, 2 * 3600.0, 3 * 3600.0])
    budget = extend(made, hours=0.5, device_hours=1.0)[0].options.budget
    assert budget == Budget(hours=2.5, device_hours=4.0, patience=2, patience_from=3)
    assert Experiment.open("a", tmp_path).options.budget == budget


@pytest.mark.parametrize("more", [{"trials": 1}, {"hours": 1.0}, {"patience": 4}, {"space": WIDER}, {"patience": 2}])
def test_exploring_again_is_another_look_at_the_answer(
    tmp_path: Path, base: Config, space: Space, more: dict[str, Any]
) -> None:
    """Whatever makes it go on; what was decided under the old limits no longer holds."""
    made = search(tmp_path, base, space, trials=None, budget=Budget(patience=2, replicating=0.3))
    run_some(made, 3)
    if "space" in more:
        more = {"space": parse_space(more["space"], "wider.yaml")}
    extended, _ = extend(made, **more)
    assert extended.options.budget.looks == 2
    again, _ = extend(extended, patience=extended.options.budget.patience)
    assert again.options.budget.looks == 2  # nothing has changed


@pytest.mark.parametrize("more", [{}, {"trials": -1}, {"hours": -0.5}, {"patience": 0}])
def test_nothing_more_is_refused(tmp_path: Path, base: Config, space: Space, more: dict[str, Any]) -> None:
    made = search(tmp_path, base, space)
    before = (made.folder / "experiment.json").read_text()
    with pytest.raises(UserError):
        extend(made, **more)
    assert (made.folder / "experiment.json").read_text() == before


def test_other_ranges(tmp_path: Path, base: Config, space: Space) -> None:
    made = search(tmp_path, base, space, sampler_options={"n_startup_trials": 2})
    run_some(made, 8)
    records = made.study().records()
    outside = sum(not 0.4 <= record.params["method.contrastive.temperature"] <= 0.6 for record in records)
    assert 0 < outside < 8
    extended, notes = extend(made, 5, space=parse_space(WIDER, "wider.yaml"))
    assert notes == [
        "method.memory_bank.capacity: 1000 .. 20000 (log, step 100) becomes 1000 .. 60000 (log, step 100)",
        "method.contrastive.temperature: 0.05 .. 2 (log) becomes 0.4 .. 0.6 (log)",
        f"{outside} of 8 trials lie outside; the sampler does not see them",
    ]
    run_some(extended, 5)
    again = Experiment.open("a", tmp_path)
    assert again.space.parameters == parse_space(WIDER, "s").parameters
    assert (tmp_path / "a" / "space-1.yaml").read_text() == space.text
    told = again.study().records()
    assert told[:8] == records  # nothing of what was is changed
    for record in told[8:]:
        assert 0.4 <= record.params["method.contrastive.temperature"] <= 0.6
        assert record.params["method.memory_bank.capacity"] % 100 == 0
    # The sampler draws all settings from what it learned: a range in common is what it needs for that.
    seen = again.study().propose(13)
    assert set(json.loads(seen.system_attrs["tpe:relative_params:0"])) == set(space.parameters)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (WIDER.replace("[linear, cosine]", "[linear, constant]"), ["method.alpha.kind", "choices"]),
        (WIDER.replace("log_uniform_values, min: 0.4", "uniform, min: 0.4"), ["temperature", "the kind of range"]),
        (WIDER + "  optim.lr: {min: 0.1, max: 1.0}", ["optim.lr is new"]),
        (WIDER + "  optim.lr: {value: 0.1}", ["constants"]),
        (WIDER.replace("  method.alpha.kind: {values: [linear, cosine]}", ""), ["method.alpha.kind is missing"]),
        (WIDER.replace("val/miou", "val/teacher/miou"), ["metric"]),
        (WIDER.replace("min: 0.4, max: 0.6", "min: 0.6, max: 0.7"), ["trial 0000 is queued", "temperature=0.5"]),
    ],
)
def test_what_is_not_another_range_is_refused(
    tmp_path: Path, base: Config, space: Space, text: str, words: list[str]
) -> None:
    made = search(tmp_path, base, space)
    with pytest.raises(UserError, match=r"^wider.yaml: ") as caught:
        extend(made, 1, space=parse_space(text, "wider.yaml"))
    for word in words:
        assert word in str(caught.value)
    assert (made.folder / "space.yaml").read_text() == space.text
    assert Experiment.open("a", tmp_path).options.trials == 3
