import math
from typing import Literal

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from u2pl_ray.search.schedulers.successive_halving import RungPruner

curves = st.lists(st.lists(st.integers(0, 30).map(float), min_size=12, max_size=12), min_size=1, max_size=12)


def run(study: optuna.Study, curve: list[float]) -> int:
    """Train one trial; epochs until it was stopped, or all."""
    trial = study.ask()
    for epoch, value in enumerate(curve, start=1):
        trial.report(value, epoch)
        if trial.should_prune():
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return epoch
    study.tell(trial, curve[-1])
    return len(curve)


@settings(max_examples=60, deadline=None)
@given(
    curves=curves,
    grace=st.integers(1, 4),
    factor=st.integers(2, 4),
    direction=st.sampled_from(["maximize", "minimize"]),
)
def test_equals_optunas_successive_halving(
    curves: list[list[float]], grace: int, factor: int, direction: Literal["maximize", "minimize"]
) -> None:
    ours = optuna.create_study(direction=direction, pruner=RungPruner(grace, factor))
    theirs = optuna.create_study(
        direction=direction,
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=grace, reduction_factor=factor),
    )
    assert [run(ours, curve) for curve in curves] == [run(theirs, curve) for curve in curves]


def test_asked_again_it_answers_the_same() -> None:
    study = optuna.create_study(direction="maximize", pruner=RungPruner(2, 3))
    run(study, [5.0, 5.0, 5.0])
    trial = study.ask()
    trial.report(1.0, 1)
    trial.report(1.0, 2)
    assert [trial.should_prune() for _ in range(3)] == [True, True, True]


def test_rungs() -> None:
    assert RungPruner(4, 3).rungs(0, 40) == [4, 12, 36]
    assert RungPruner(4, 3).rungs(0, 36) == [4, 12]
    assert [RungPruner(2, 3, brackets=2).rungs(number, 20) for number in range(3)] == [[2, 6, 18], [6, 18], [2, 6, 18]]


def test_brackets_compete_among_themselves() -> None:
    study = optuna.create_study(direction="maximize", pruner=RungPruner(1, 2, brackets=2))
    assert run(study, [9.0] * 4) == 4  # trial 0, bracket 0
    assert run(study, [1.0] * 4) == 4  # trial 1, bracket 1: alone there
    assert run(study, [8.0] * 4) == 1  # trial 2, bracket 0: worse than trial 0
    assert run(study, [0.5] * 4) == 2  # trial 3, bracket 1: its first rung is at 2


def test_not_a_number_stops() -> None:
    study = optuna.create_study(direction="maximize", pruner=RungPruner(1, 3))
    assert run(study, [math.nan]) == 1
    assert run(study, [0.0, 0.0]) == 2  # and does not count as a competitor


@pytest.mark.parametrize("failed", [optuna.trial.TrialState.FAIL, optuna.trial.TrialState.PRUNED])
def test_trials_that_ended_still_compete(failed: optuna.trial.TrialState) -> None:
    study = optuna.create_study(direction="maximize", pruner=RungPruner(1, 3))
    trial = study.ask()
    trial.report(5.0, 1)
    study.tell(trial, state=failed)
    assert run(study, [4.0, 4.0]) == 1


def test_luck_of_one_epoch_stops_nobody() -> None:
    """Curves scatter by about 1 around a line; with a chance of 0.1 a trial may be 1.28 times that behind the cut."""
    noise = [0.9, -1.1, 1.0, -0.8, 1.2, -1.0, 0.8, -1.0]
    strict, lenient = (
        optuna.create_study(direction="maximize", pruner=RungPruner(8, 2, wrong=it)) for it in (None, 0.1)
    )
    for study in (strict, lenient):
        for _ in range(3):
            run(study, [10.0 + epoch + luck for epoch, luck in enumerate(noise)] + [20.0])
    near = [10.0 + epoch + luck for epoch, luck in enumerate([*noise[:7], -2.0])] + [20.0]
    far = [10.0 + epoch + luck for epoch, luck in enumerate([*noise[:7], -4.0])] + [20.0]
    assert run(strict, near) == 8
    assert run(lenient, near) == 9
    assert run(lenient, far) == 8


def test_without_enough_epochs_there_is_no_margin() -> None:
    study = optuna.create_study(direction="maximize", pruner=RungPruner(2, 2, wrong=0.1))
    for value in (3.0, 2.0):
        last = run(study, [value, value, value])
    assert last == 2
