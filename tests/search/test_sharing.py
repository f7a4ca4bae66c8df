"""Budgets of hours, of trials and of patience that are shared out between new settings and replicates."""

import math
import shutil
from pathlib import Path

import pytest

from tests.search.driven import COMPLETED, EPOCHS, open_study
from tests.search.test_rounds import driver_of, metrics, replicates, search, start
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.budget import Budget, Meter
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study.judgement import Judgement
from u2pl_ray.search.study.remaining import counted

EPOCH_HOURS = 0.1
HOURS = 13.0
BY_HOURS = Budget(hours=HOURS, replicating=0.3)


def search_by_hours(folder: Path, space: Space, base: Config, now: list[float], most: float = math.inf) -> Driver:
    """Go on with a search by hours, in which each epoch takes 0.1 of them, at most until some moment."""
    study = open_study(folder, space)
    driver = Driver(study, base, None, folder / "trials", allowance=BY_HOURS.allowance(EPOCHS, None))
    driver.use(Meter(study, BY_HOURS, 1.0, clock=lambda: now[0]))
    assert driver.meter is not None
    while now[0] < most and (assignment := driver.next()) is not None:
        for epoch in range(assignment.reported_epochs + 1, EPOCHS + 1):
            now[0] += EPOCH_HOURS * 3600
            driver.meter.tick(1)
            if (
                driver.spent
                or now[0] >= most
                or driver.report(assignment.trial, metrics(assignment.config, epoch, 0.1))
            ):
                break
        else:
            driver.finish(assignment.trial, COMPLETED)
    return driver


def test_hours_buy_settings_and_then_replicates(tmp_path: Path, space: Space, base: Config) -> None:
    start(tmp_path, space, base)
    now = [0.0]
    driver = search_by_hours(tmp_path, space, base, now)
    records, worth = driver.study.all_records(), HOURS / (EPOCH_HOURS * EPOCHS)
    allowance = driver.rounds.allowance
    assert allowance.trainings == pytest.approx(worth, rel=0.02)
    assert 0.7 * worth <= allowance.explored(records) < 0.7 * worth + 1
    assert worth - 1 < allowance.spent(records) <= worth
    assert len(replicates(records)) >= 3
    assert driver.unfinished() == 0
    assert now[0] <= HOURS * 3600


def test_what_the_clock_decided_is_on_record_and_holds_after_a_kill(tmp_path: Path, space: Space, base: Config) -> None:
    """Killed after exploring, and gone on with when the clock says something else: the same trainings."""
    now, late = [0.0], 0.8 * HOURS * 3600
    start(tmp_path / "a", space, base)
    search_by_hours(tmp_path / "a", space, base, now, late)
    assert replicates(open_study(tmp_path / "a", space).all_records())
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    expected = search_by_hours(tmp_path / "a", space, base, now).study.all_records()
    search_by_hours(tmp_path / "b", space, base, [late], late + 1)  # and once more
    found = search_by_hours(tmp_path / "b", space, base, [late]).study.all_records()
    assert [(it.state, it.settings, it.values) for it in found] == [
        (it.state, it.settings, it.values) for it in expected
    ]
    assert Judgement(space, base, found).answer == Judgement(space, base, expected).answer


def test_time_used_before_a_kill_is_remembered(tmp_path: Path, space: Space, base: Config) -> None:
    start(tmp_path, space, base)
    now = [0.0]
    while not replicates(open_study(tmp_path, space).all_records()):
        assert now[0] < 0.9 * HOURS * 3600
        search_by_hours(tmp_path, space, base, now, now[0] + 7200)
    assert now[0] > 0.6 * HOURS * 3600


def test_a_number_of_trials_with_replicates_and_one_without(tmp_path: Path, space: Space, base: Config) -> None:
    for name, share, count in (("with", 0.3, 4), ("without", 0.0, 0)):
        start(tmp_path / name, space, base)
        allowance = Budget(replicating=share).allowance(EPOCHS, 12)
        records = search(driver_of(tmp_path / name, space, base, allowance, trials=12))
        explored = allowance.explored(records)
        assert len(counted(records)) == 12
        assert len(replicates(records)) == math.floor(explored * share / (1 - share) + 1e-9)
        assert len(replicates(records)) >= count


def test_patience_ends_exploring_and_the_rest_is_replicates(tmp_path: Path, space: Space, base: Config) -> None:
    start(tmp_path, space, base)
    budget = Budget(patience=4, replicating=0.3)
    driver = driver_of(tmp_path, space, base, budget.allowance(EPOCHS, None))
    driver.use(Meter(driver.study, budget, 1.0))
    records = search(driver)
    assert driver.meter is not None
    assert driver.meter.stalled
    assert not driver.spent
    explored = driver.rounds.allowance.explored(records)
    assert len(replicates(records)) == math.floor(explored * 3 / 7 + 1e-9) > 0
