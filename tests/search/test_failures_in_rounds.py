"""A budget of trainings where settings, replicates or proposals fail, and where another driver runs the last one."""

import math
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from tests.search.conftest import SPACE
from tests.search.driven import EPOCHS
from tests.search.test_rounds import TRAININGS, driver_of, metrics, replicates, search, start, train
from u2pl_ray import posterior
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.assignment import Outcome
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.driver.presence import Presence
from u2pl_ray.search.execution.interrupts import stop_softly
from u2pl_ray.search.execution.tune_searcher import StudySearcher
from u2pl_ray.search.experiment.verdict import verdict
from u2pl_ray.search.samplers.registry import SamplerChoice
from u2pl_ray.search.schedulers.registry import SchedulerChoice
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.space.paper_setting import paper_setting
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study.allowance import Allowance
from u2pl_ray.search.study.judgement import Judgement
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.study.trial_record import PAPER, State


def test_a_replicate_that_failed_is_not_trained_again_on_its_seed(tmp_path: Path, space: Space, base: Config) -> None:
    start(tmp_path, space, base)
    driver = driver_of(tmp_path, space, base, Allowance(EPOCHS, TRAININGS, 0.6))
    while (assignment := driver.next()) is not None:
        companion = driver.study.record(int(assignment.trial)).companion
        if companion is not None and companion.of not in (None, 0, 1):  # not the paper's and its baseline
            driver.finish(assignment.trial, Outcome(State.FAILED, "nan", "diverged"))
        else:
            train(driver, assignment)
    again = replicates(driver.study.all_records())
    assert len(again) == len(set(again)) > 6


@pytest.mark.parametrize("reason", ["nan", "memory"])
def test_settings_that_always_fail_come_to_an_end(reason: str, tmp_path: Path, space: Space, base: Config) -> None:
    """Each costs an epoch, though it did not come to its end."""
    start(tmp_path, space, base)
    driver = driver_of(tmp_path, space, base, Allowance(EPOCHS, 4, 0.3))
    while (assignment := driver.next()) is not None:
        assert int(assignment.trial) <= EPOCHS * 4
        if assignment.trial in ("0000", "0001"):
            train(driver, assignment)
        else:
            driver.finish(assignment.trial, Outcome(State.FAILED, reason))
    assert driver.rounds.allowance.spent(driver.study.all_records()) == pytest.approx(0.7 * 4, abs=1 / EPOCHS)
    assert driver.unfinished() == 0


def test_replicates_follow_when_no_setting_is_valid_any_more(tmp_path: Path, space: Space, base: Config) -> None:
    """Their share of what was explored; then the search is at its end, and no further setting is tried."""
    ranks = (
        "  method.contrastive.low_rank: {min: 3, max: 100000000}\n  method.contrastive.high_rank: {min: 3, max: 20}\n"
    )
    space = parse_space(space.text + ranks, "s")
    allowance = Allowance(EPOCHS, TRAININGS, 0.6)
    study = TrialStudy.create(
        tmp_path / "study", "a", space, SamplerChoice("random", 1), SchedulerChoice().build(EPOCHS)
    )
    paper = paper_setting(space, base)[0]
    study.enqueue(paper, PAPER)
    for temperature in (0.1, 0.2, 0.3, 0.4):
        study.enqueue({**paper, "method.contrastive.temperature": temperature}, "mine")

    def begun() -> Driver:
        return Driver(study, base, None, tmp_path / "trials", allowance=allowance)

    driver = begun()
    records = search(driver)
    assert "100 proposals in a row were not valid" in driver.given_up
    assert sum(record.reason == "invalid" for record in records) == 100
    whole = [record for record in records if not record.replicate]
    assert len(replicates(records)) == math.floor(allowance.spent(whole) * 0.6 / 0.4) > 1
    assert driver.unfinished() == 0
    assert begun().unfinished() == 0
    assert begun().next() is None
    assert study.all_records() == records


def test_a_driver_waits_for_the_last_setting_of_another_one(tmp_path: Path, space: Space, base: Config) -> None:
    """Then it trains replicates: none is left behind because nothing of its own ran in between."""
    start(tmp_path, space, base)
    first, second = (driver_of(tmp_path, space, base, Allowance(EPOCHS, 5, 0.5)) for _ in range(2))
    for driver in (first, second):
        driver.share(Presence(driver.study))
    for _ in range(2):
        assignment = first.next()
        assert assignment is not None
        train(first, assignment)
    last = first.next()
    assert last is not None
    stopping = StudySearcher(second, lambda: 1, lambda trial: None, lambda: True)
    assert stopping.suggest("a") == Searcher.FINISHED  # a soft stop does not wait
    searcher = StudySearcher(second, lambda: 1, lambda trial: None)
    assert searcher.suggest("a") is None
    train(first, last)
    suggested = searcher.suggest("a")
    assert isinstance(suggested, dict)
    assert second.study.record(int(suggested["trial"])).replicate


def test_a_soft_stop_reaches_tune_and_who_waits_for_a_trial() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))  # as Tune does
    try:
        for kind in (signal.SIGTERM, signal.SIGUSR1):
            asked: list[int] = []
            with stop_softly(lambda line: None, asked) as arm:
                arm()
                signal.raise_signal(kind)
            assert asked
        assert heard == [signal.SIGUSR1] * 2
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_what_lies_outside_other_ranges_is_trained_again_all_the_same(
    tmp_path: Path, space: Space, base: Config
) -> None:
    """As after `extend --space`: the paper's setting, which all is compared with, and a trial that is retried."""
    allowance = Allowance(EPOCHS, TRAININGS, 0.3)
    start(tmp_path, space, base)
    driver = driver_of(tmp_path, space, base, allowance)
    *begun, broken = (driver.next() for _ in range(5))
    for assignment in begun:
        assert assignment is not None
        train(driver, assignment)
    assert broken is not None
    driver.finish(broken.trial, Outcome(State.FAILED, "environment", "no data"))
    narrow = SPACE.replace("max: 2.0", "max: 0.3").replace("min: 1000, max: 20000", "min: 100, max: 200")
    driver = driver_of(tmp_path, parse_space(narrow, "narrow.yaml"), base, allowance)
    assert driver.retry_errored() == [broken.trial]
    records = search(driver)
    (retry,) = [record for record in records if record.retries == int(broken.trial)]
    assert retry.params == records[int(broken.trial)].params
    assert retry.state in (State.COMPLETED, State.STOPPED)
    assert records[0].params["method.contrastive.temperature"] == 0.5
    assert (0, 1_000_000) in replicates(records)
    assert all(record.params == records[record.companion.of].params for record in records
               if record.companion is not None and record.companion.of is not None)  # fmt: skip
    explored = [record.params for record in records[6:] if record.companion is None]
    assert explored
    assert max(params["method.memory_bank.capacity"] for params in explored) <= 200


def test_after_narrower_ranges_settings_still_lie_beside_each_other(tmp_path: Path, space: Space, base: Config) -> None:
    start(tmp_path, space, base)
    records = search(driver_of(tmp_path, space, base, Allowance(EPOCHS, TRAININGS, 0.3)))
    narrow = parse_space(SPACE.replace("max: 2.0", "max: 0.3"), "narrow.yaml")
    points = Judgement(narrow, base, records).points
    assert points is not None
    assert points.keys() == (Judgement(space, base, records).points or {}).keys()


def test_what_is_still_to_be_trained_is_said_with_the_answer(tmp_path: Path, space: Space, base: Config) -> None:
    start(tmp_path, space, base)
    judgement = Judgement(space, base, search(driver_of(tmp_path, space, base, Allowance(EPOCHS, TRAININGS, 0.3))))
    final = verdict(judgement)
    assert final
    assert verdict(replace(judgement, missing=3)) == f"So far, with 3 trainings on new seeds to come: {final}"


def test_a_trial_that_is_retried_is_charged_once(tmp_path: Path, space: Space, base: Config) -> None:
    """The retry goes on from the failed trial's epochs, and counts in its place."""
    allowance = Allowance(EPOCHS, TRAININGS, 0.3)
    start(tmp_path, space, base)
    driver = driver_of(tmp_path, space, base, allowance)
    assignment = driver.next()
    assert assignment is not None
    for epoch in range(1, 4):
        driver.report(assignment.trial, metrics(assignment.config, epoch, 0.1))
    driver.finish(assignment.trial, Outcome(State.FAILED, "environment", "disk full"))
    assert allowance.spent(driver.study.all_records()) == pytest.approx(3 / EPOCHS)
    assert driver.retry_errored() == [assignment.trial]
    again = driver.next()
    assert again is not None
    train(driver, again)
    records = driver.study.all_records()
    assert records[-1].retries == int(assignment.trial)
    assert allowance.spent(records) == pytest.approx(1)


def test_a_replicate_that_is_retried_counts_once(
    tmp_path: Path, space: Space, base: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every round shares out as many trainings as the first one."""
    totals: list[int] = []

    def noted(
        judged: posterior.Posterior, left: int, total: int, *more: Any, **named: Any
    ) -> list[posterior.Replicate]:
        totals.append(total)
        return next_replicates(judged, left, total, *more, **named)

    next_replicates = posterior.next_replicates
    monkeypatch.setattr(posterior, "next_replicates", noted)
    allowance = Allowance(EPOCHS, TRAININGS, 0.6)
    start(tmp_path, space, base)
    driver = driver_of(tmp_path, space, base, allowance)
    retried: list[str] = []
    while (assignment := driver.next()) is not None:
        if driver.study.record(int(assignment.trial)).replicate and not retried:
            driver.finish(assignment.trial, Outcome(State.FAILED, "environment", "disk full"))
            retried = driver.retry_errored()
            assert retried == [assignment.trial]
        else:
            train(driver, assignment)
    records = driver.study.all_records()
    again = replicates(records)
    assert len(again) == len(set(again)) + 1
    assert allowance.replicated(records) == len(set(again)) == totals[0]
    assert len(totals) > 1
    assert set(totals) == {totals[0]}


def test_a_setting_whose_replicates_diverge_is_not_called_better(tmp_path: Path, space: Space, base: Config) -> None:
    """By the trainings that ended it would be; the answer says how many did not."""
    start(tmp_path, space, base)
    records = search(driver_of(tmp_path, space, base, Allowance(EPOCHS, 30, 0.3)))
    claimed = Judgement(space, base, records).use
    own = [it for it in records if it.replicate and it.companion is not None and it.companion.of == int(claimed or 0)]
    assert len(own) > 1
    left = [it for it in records if it != own[-1]]
    assert Judgement(space, base, left).use == claimed != "0000"
    failed = replace(own[-1], state=State.FAILED, reason="nan", value=None)
    judgement = Judgement(space, base, [*left, failed])
    assert judgement.use != claimed
    assert f" 1 of {claimed}'s {len(own) + 1} trainings diverged." in verdict(judgement)
    lost = replace(failed, reason="lost")
    assert Judgement(space, base, [*left, lost]).use == claimed  # that is no fault of the setting
