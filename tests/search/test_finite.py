"""Spaces of a few settings under a budget: each is tried once, and the rest trains the best ones again."""

from pathlib import Path

import pytest

from tests.search.driven import EPOCHS
from tests.search.small_search import train_with
from tests.search.test_rounds import metrics
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.budget import Budget
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.space.finite import all_settings

pytestmark = pytest.mark.usefixtures("two_cpus")

FEW = """
metric: {name: val/miou, goal: maximize}
parameters:
  method.alpha.kind: {values: [linear, cosine]}
  method.memory_bank.capacity: {values: [1000, 5000, 30000]}
"""


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("method.alpha.kind: {values: [linear, cosine]}", 2),
        ("method.contrastive.anchors: {min: 1, max: 4, distribution: int_uniform}", 4),
        ("method.contrastive.temperature: {min: 0.1, max: 1.0}", None),
        ("method.memory_bank.capacity: {min: 100, max: 900, distribution: int_uniform}", None),
        ("seed: {values: [1, 2]}", None),
    ],
)
def test_what_is_few(text: str, count: int | None) -> None:
    found = all_settings(parse_space(f"metric: {{name: val/miou, goal: maximize}}\nparameters:\n  {text}\n", "s"))
    assert (found and len(found)) == count


def test_each_is_tried_once_and_the_rest_are_replicates(tmp_path: Path, base: Config) -> None:
    plan = plan_search(
        base,
        parse_space(FEW, "s"),
        name="few",
        trials=None,
        budget=Budget(trainings=14),
        storage_path=tmp_path,
        scheduler="none",
    )
    assert "the space has 6 settings: each is tried once; what is left trains the best ones again" in plan.notes
    made = plan.create()
    driver = Driver(made.study(), made.config, made.options.trials, made.folder / "trials", allowance=made.allowance)
    train_with(driver, value=lambda config, epoch: metrics(config, epoch, 0.1)["val/miou"])
    records = made.study().all_records()
    explored = [record.params for record in records if record.companion is None]
    assert len(explored) == 6
    assert all(explored.count(params) == 1 for params in explored)
    assert sum(record.replicate for record in records) == 8
    assert made.allowance.spent(records) == 14
    assert sum(record.epochs for record in records) == 14 * EPOCHS
    assert made.is_finished(made.study())
