"""Population-based training with real U2PL trainings on the generated set."""

from pathlib import Path

import pytest

from u2pl_ray.config import overrides
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.study.trial_record import State

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]

STEPS, PUSHED = 10, 1024
SPACE = """
metric: {name: val/miou, goal: maximize}
parameters:
  method.memory_bank.capacity: {distribution: q_log_uniform_values, min: 16000, max: 30000, q: 1}
  method.contrastive.temperature: {distribution: log_uniform_values, min: 0.1, max: 1.0}
  optim.lr: {distribution: log_uniform_values, min: 0.01, max: 0.1}
"""


def test_a_forks_first_epoch_continues_from_its_parent(tmp_path: Path) -> None:
    settings = {
        "workers": 1,
        "train.epochs": 8,
        "train.steps_per_epoch": STEPS,
        "method.warmup_epochs": 1,
        "method.memory_bank.push_cap": PUSHED,
        "tracking.wandb": "disabled",
    }
    plan = plan_search(
        overrides.apply(overrides.load("quickstart"), settings), parse_space(SPACE, "s"), name="a", trials=4,
        storage_path=tmp_path, scheduler="pbt", scheduler_options={"interval": 3, "quantile": 0.34},
        sampler="random", seed=1,
    )  # fmt: skip
    experiment = plan.create()
    summary = experiment.run()
    assert summary.finished
    assert {record.state for record in summary.trials} == {State.COMPLETED, State.STOPPED}
    forks = [record for record in summary.trials if record.fork is not None]
    assert forks
    resized = 0
    for record in forks:
        assert record.fork is not None
        parent = summary.trials[record.fork.parent]
        last, first = record.fork.epoch, record.fork.epoch + 1
        own, before = experiment.epochs(record.id), experiment.epochs(parent.id)
        shared = [{name: row[name] for name in ("val/miou", "train/loss/total")} for row in own[:last]]
        assert shared == [{name: row[name] for name in shared[0]} for row in before[:last]]
        untrained = parent.values[1]
        assert record.values[first] > (untrained + parent.values[last]) / 2
        fills = [value for name, value in own[first - 1].items() if name.startswith("diag/bank/fill/")]
        theirs = [value for name, value in before[last - 1].items() if name.startswith("diag/bank/fill/")]
        capacity = record.params["method.memory_bank.capacity"]
        assert max(fills) <= capacity
        # More keys than its own first epoch can have pushed: the parent's are there, as many as now fit.
        assert max(fills) >= min(capacity, max(theirs)) > STEPS * PUSHED
        resized += capacity != parent.params["method.memory_bank.capacity"]
    assert resized
