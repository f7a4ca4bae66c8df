"""What a search may cost: the account, and searches on a real local Ray that end at each limit and go on after."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from u2pl_ray.config import overrides
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.budget import Budget, Meter, results, used, used_by, without_improvement
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.extend import extend
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.samplers.registry import SamplerChoice
from u2pl_ray.search.schedulers.registry import SchedulerChoice
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.study.trial_record import State, TrialRecord

START = datetime(2026, 1, 1)


def record(number: int, value: float | None, state: State = State.COMPLETED, ended: int | None = None) -> TrialRecord:
    finished = START + timedelta(minutes=number if ended is None else ended)
    return TrialRecord(f"{number:04d}", number, state, value=value, finished=finished)


def better(one: TrialRecord, other: TrialRecord) -> bool:
    assert one.value is not None
    assert other.value is not None
    return one.value > other.value


def test_hours_are_those_in_which_any_session_ran() -> None:
    assert used([]) == (0, 0)
    assert used([[0, 3600, 7200], [7200, 10800, 3600]]) == (2, 3)
    assert used([[1800, 5400, 60], [0, 3600, 60], [900, 1000, 0]]) == (1.5, 120 / 3600)  # two drivers at once


def test_results_without_improvement() -> None:
    values = [0.5, 0.4, 0.6, 0.6, 0.3]
    records = [record(number, value) for number, value in enumerate(values)]
    assert [without_improvement(records[:count], better) for count in range(1, 6)] == [0, 1, 0, 1, 2]
    assert without_improvement(records, better, 4) == 1  # counting starts anew
    stopped = [record(0, 0.5), record(1, 0.9, State.STOPPED), record(2, None, State.FAILED), record(3, 0.4)]
    assert without_improvement(results(stopped), better) == 2  # a failure is no result
    late = [record(0, 0.5, ended=9), record(1, 0.6, ended=2), record(2, 0.4, ended=3)]
    assert [item.number for item in results(late)] == [1, 2, 0]


@pytest.fixture
def study(tmp_path: Path, space: Space) -> TrialStudy:
    return TrialStudy.create(tmp_path / "a", "a", space, SamplerChoice("random"), SchedulerChoice().build(9))


def test_the_account_goes_on_over_sessions_and_drivers(study: TrialStudy) -> None:
    now = [1000.0]
    budget = Budget(hours=2.0, device_hours=5.0)
    first = Meter(study, budget, devices=2.0, clock=lambda: now[0])
    for _ in range(60):
        now[0] += 60
        first.tick(live=1)
    assert (used_by(study), first.spent) == ((1.0, 2.0), "")  # written on the way
    second = Meter(study, budget, 2.0, clock=lambda: now[0])
    now[0] += 1800
    second.tick(live=3)
    assert second.spent == "5 of 5 device-hours are used"
    third = Meter(study, Budget(hours=1.5), 2.0, clock=lambda: now[0])
    third.tick(0)
    assert third.spent == "1.5 of 1.5 hours are used"


@pytest.mark.parametrize("budget", [Budget(hours=0), Budget(device_hours=-1), Budget(patience=0)])
def test_a_budget_of_nothing_is_refused(budget: Budget) -> None:
    with pytest.raises(UserError, match="give a number above 0"):
        budget.check()


@pytest.mark.ray
@pytest.mark.parametrize(
    ("budget", "trials", "epochs", "more"),
    [
        (Budget(hours=3 / 3600), 2, 40, {"hours": 1.0}),
        pytest.param(Budget(device_hours=3 / 3600), 2, 40, {"device_hours": 1.0}, marks=pytest.mark.slow),
        pytest.param(Budget(patience=1), None, 9, {"trials": 1, "patience": 9}, marks=pytest.mark.slow),
    ],
    ids=["hours", "gpu-hours", "patience"],
)
def test_a_search_ends_at_its_budget_and_goes_on_when_extended(
    tmp_path: Path,
    base: Config,
    space: Space,
    ray_cluster: None,
    budget: Budget,
    trials: int | None,
    epochs: int,
    more: dict[str, Any],
) -> None:
    slow = "fake_training:build_slow"
    config = overrides.apply(base, {"train.epochs": epochs})
    made = plan_search(
        config, space, name="a", trials=trials, budget=budget, storage_path=tmp_path, trainer=slow
    ).create()
    summary = made.run()
    assert summary.finished
    assert summary.reason
    before = summary.trials
    again = Experiment.open("a", tmp_path).run()  # kept across resume: nothing is left
    assert (again.trials, again.finished) == (before, True)
    # the look itself took milliseconds of the hours
    assert again.reason.rpartition(" of ")[2] == summary.reason.rpartition(" of ")[2]

    extended, _ = extend(Experiment.open("a", tmp_path), **more)
    after = extended.run()
    assert after.finished
    assert len(after.trials) >= len(before)
    assert {item.state for item in after.trials} <= {State.COMPLETED, State.STOPPED}
    for earlier, now in zip(before, after.trials, strict=False):
        assert now.values.items() >= earlier.values.items()
        assert list(now.values) == list(range(1, now.epochs + 1))
    if budget.patience is None:
        assert any(item.state == State.RUNNING for item in before)  # stopped softly, and taken up again
        assert after.reason == ""
        assert len(after.trials) == 2
