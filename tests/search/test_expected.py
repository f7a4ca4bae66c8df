"""What schedulers leave of trials' epochs, against recorded trainings that are replayed through the pruners."""

import json
import random
from pathlib import Path
from statistics import mean

import optuna
import pytest
from optuna.trial import TrialState

from u2pl_ray.search.schedulers.expected import survival
from u2pl_ray.search.schedulers.registry import SchedulerChoice

RECORDED = Path(__file__).parents[2] / "benchmarks/data/curves_generated.jsonl"
EPOCHS, WARMUP = 20, 2


def test_by_hand() -> None:
    """Grace 2, factor 2, warm-up 1: rungs at 3 and 5. Trials go on with 1, 1/2, 1/3, 2/4 at the first rung."""
    choice = SchedulerChoice("asha", {"grace": 2, "factor": 2, "warmup": 1})
    found = survival(choice, 6, 4)
    assert [row[:3] for row in found] == [[1, 1, 1]] * 4
    assert [row[3] for row in found] == pytest.approx([1, 1 / 2, 1 / 3, 2 / 4])
    assert [row[3] for row in found] == [row[4] for row in found]
    # 1, 1.5, 1.83, 2.33 trials have come to the second rung: of 1.5 one goes on, of 2.33 one
    assert [row[5] for row in found] == pytest.approx([1, 1 / 2 / 1.5, 1 / 3 / (11 / 6), 1 / 2 / (14 / 6)])


def test_brackets_are_apart() -> None:
    """Of two brackets with rungs at 3 and 9, and at 9 alone, trials alternate."""
    choice = SchedulerChoice("hyperband", {"grace": 3, "brackets": 2})
    found = survival(choice, 10, 4)
    assert [row[3] for row in found] == pytest.approx([1, 1, 1 / 2, 1])
    assert found[1][9] == 1
    assert found[3][9] == pytest.approx(1 / 2)


@pytest.mark.parametrize("name", ["none", "pbt"])
def test_some_stop_nothing(name: str) -> None:
    assert survival(SchedulerChoice(name), 5, 3) == [[1.0] * 5] * 3


def replayed(choice: SchedulerChoice, curves: list[list[float]], trials: int, seed: int) -> float:
    """Mean epochs of some recorded trainings in random order, one after the other, through the pruner."""
    study = optuna.create_study(direction="maximize", pruner=choice.build(EPOCHS))
    trained = 0
    for curve in random.Random(seed).sample(curves, trials):
        trial = study.ask()
        for epoch, value in enumerate(curve, 1):
            trial.report(value, epoch)
            trained += 1
            if epoch < EPOCHS and trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, curve[-1])
    return trained / trials


@pytest.mark.parametrize(
    ("name", "options", "off"),
    [("asha", {}, 0.05), ("asha", {"grace": 3, "factor": 2}, 0.1), ("hyperband", {}, 0.07), ("median", {}, 0.25)],
)
def test_recorded_trainings_have_as_many_epochs(name: str, options: dict[str, int], off: float) -> None:
    curves = [json.loads(line)["val/miou"] for line in RECORDED.read_text().splitlines()]
    choice, trials = SchedulerChoice(name, options).after(WARMUP, EPOCHS), 24
    found = mean(map(sum, survival(choice, EPOCHS, trials)))
    assert found == pytest.approx(mean(replayed(choice, curves, trials, seed) for seed in range(12)), rel=off)
    assert found < 0.8 * EPOCHS
