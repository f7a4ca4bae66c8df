"""Population-based training with real U2PL trainings on the generated set."""

from pathlib import Path

import pytest

from tests.train.conftest import tiny
from u2pl_ray.search.plan import plan_search
from u2pl_ray.search.records import State
from u2pl_ray.search.space import parse_space

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]

SPACE = """
metric: {name: val/miou, goal: maximize}
parameters:
  method.memory_bank.capacity: {distribution: q_log_uniform_values, min: 8, max: 64, q: 1}
  method.contrastive.temperature: {distribution: log_uniform_values, min: 0.05, max: 2.0}
  optim.lr: {distribution: log_uniform_values, min: 0.0001, max: 0.05}
"""


def test_a_forks_first_epoch_continues_from_its_parent(tmp_path: Path) -> None:
    config = tiny("train.epochs=7", "train.steps_per_epoch=6", "tracking.wandb=disabled")
    options = {"interval": 2, "quantile": 0.34}
    plan = plan_search(
        config, parse_space(SPACE, "s"), name="a", trials=4, storage_path=tmp_path,
        scheduler="pbt", scheduler_options=options, sampler="random", seed=1,
    )  # fmt: skip
    experiment = plan.create()
    summary = experiment.run()
    assert summary.finished
    forks = [record for record in summary.trials if record.fork is not None]
    assert forks
    assert {record.state for record in summary.trials} == {State.COMPLETED, State.STOPPED}
    for record in forks:
        assert record.fork is not None
        parent = summary.trials[record.fork.parent]
        last, first = record.fork.epoch, record.fork.epoch + 1
        own = experiment.epochs(record.id)
        shared = [{name: row[name] for name in ("val/miou", "train/loss/total")} for row in own[:last]]
        assert shared == [{name: row[name] for name in shared[0]} for row in experiment.epochs(parent.id)[:last]]
        untrained = parent.values[1]
        assert record.values[first] > (untrained + parent.values[last]) / 2
        capacity = record.params["method.memory_bank.capacity"]
        assert capacity != parent.params["method.memory_bank.capacity"]
        fills = [value for name, value in own[first - 1].items() if name.startswith("diag/bank/fill/")]
        assert 0 < max(fills) <= capacity
