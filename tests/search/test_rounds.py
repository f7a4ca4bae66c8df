"""One budget for new settings and for replicates: what is trained, on which seeds, and what a kill changes."""

import hashlib
import math
from pathlib import Path
from typing import Any

import pytest

from tests.search.driven import COMPLETED, EPOCHS, open_study
from tests.search.kill_loop import KILL_POINTS, kill_until_it_ends
from u2pl_ray.config.schema import Config
from u2pl_ray.posterior import Verdict
from u2pl_ray.search.driver.assignment import Assignment, Outcome
from u2pl_ray.search.driver.budget import Budget, Meter
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.experiment.baselines import companion
from u2pl_ray.search.space.paper_setting import paper_setting
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study.allowance import Allowance
from u2pl_ray.search.study.companion import Companion, Kind
from u2pl_ray.search.study.comparison import compare
from u2pl_ray.search.study.judgement import Judgement
from u2pl_ray.search.study.trial_record import PAPER, State, TrialRecord

TRAININGS = 20


def luck(config: Config) -> float:
    """A standard normal draw that seed and setting decide."""
    key = f"{config.seed} {config.method.contrastive.temperature} {config.method.name}"
    digest = hashlib.sha256(key.encode()).digest()
    one, two = (int.from_bytes(digest[i : i + 4], "big") / 2**32 for i in (0, 4))
    return math.sqrt(-2 * math.log(one + 1e-12)) * math.cos(2 * math.pi * two)


def metrics(config: Config, epoch: int, effect: float) -> dict[str, Any]:
    distance = abs(math.log(config.method.contrastive.temperature / 0.2))
    worth = 0.5 - effect * distance - (0.1 if config.method.name == "supervised" else 0.0)
    rise = 1.0 - math.exp(-3.0 * epoch / EPOCHS)
    return {"training_iteration": epoch, "val/miou": rise * (worth + 0.01 * luck(config))}


def start(folder: Path, space: Space, base: Config) -> None:
    folder.mkdir(exist_ok=True)
    study = open_study(folder, space)
    study.enqueue(paper_setting(space, base)[0], PAPER)
    study.enqueue({}, "supervised", companion=companion("supervised"))


def driver_of(folder: Path, space: Space, base: Config, allowance: Allowance, trials: int | None = None) -> Driver:
    return Driver(open_study(folder, space), base, trials, folder / "trials", allowance=allowance)


def train(driver: Driver, assignment: Assignment, effect: float = 0.1) -> None:
    for epoch in range(assignment.reported_epochs + 1, EPOCHS + 1):
        if driver.report(assignment.trial, metrics(assignment.config, epoch, effect)):
            return
    driver.finish(assignment.trial, COMPLETED)


def search(driver: Driver, effect: float = 0.1) -> list[TrialRecord]:
    while (assignment := driver.next()) is not None:
        train(driver, assignment, effect)
    return driver.study.all_records()


def replicates(records: list[TrialRecord]) -> list[tuple[int, int]]:
    found = []
    for record in records:
        if record.companion is not None and record.companion.kind == Kind.REPLICATE:
            found.append((record.companion.of or 0, record.companion.changes["seed"]))
    return found


@pytest.fixture
def allowance() -> Allowance:
    return Allowance(EPOCHS, TRAININGS, 0.3)


def test_a_budget_is_spent_on_settings_and_then_on_replicates(
    tmp_path: Path, space: Space, base: Config, allowance: Allowance
) -> None:
    start(tmp_path, space, base)
    driver = driver_of(tmp_path, space, base, allowance)
    records = search(driver)
    again = replicates(records)
    whole = [record for record in records if record.companion is None or record.companion.kind != Kind.REPLICATE]
    explored = allowance.spent(whole)
    assert 0.7 * TRAININGS <= explored < 0.7 * TRAININGS + 1
    assert TRAININGS - 1 < allowance.spent(records) <= TRAININGS
    assert len(again) == len(set(again)) == math.floor(TRAININGS - explored)
    assert driver.unfinished() == 0
    assert (0, 1_000_000) in again  # the paper's setting, and what it is compared with, on the same new seeds
    assert (1, 1_000_000) in again
    by_seed: dict[int, set[int]] = {}
    for of, seed in again:
        by_seed.setdefault(seed, set()).add(of)
    assert all(len(group) > 1 for seed, group in by_seed.items() if seed != max(by_seed))
    assert base.seed not in by_seed
    for record in records[len(whole) :]:
        assert record.state == State.COMPLETED
        assert record.params == records[record.companion.of or 0].params  # type: ignore[union-attr]


def test_the_better_setting_is_found_and_claimed_and_a_flat_world_is_not(
    tmp_path: Path, space: Space, base: Config
) -> None:
    for name, effect in (("steep", 0.1), ("flat", 0.0)):
        start(tmp_path / name, space, base)
        records = search(driver_of(tmp_path / name, space, base, Allowance(EPOCHS, 30, 0.3)), effect)
        judgement = Judgement(space, base, records)
        told, against = judgement.answer, compare(judgement, "supervised")
        assert told is not None
        assert against is not None
        assert against.setting == judgement.use
        assert against.better
        assert against.seeds >= 1
        if name == "flat":
            assert told.verdict != Verdict.BETTER
            assert against.low < 0.1 * (1 - math.exp(-3)) < against.high
        else:
            assert told.verdict == Verdict.BETTER
            assert told.leader is not None
            temperature = records[int(told.leader)].params["method.contrastive.temperature"]
            assert abs(math.log(temperature / 0.2)) < 0.5 * abs(math.log(0.5 / 0.2))


@pytest.mark.parametrize("point", KILL_POINTS)
def test_killed_while_exploring_and_replicating_it_gives_the_same_answer(
    point: str, tmp_path: Path, space: Space, base: Config, allowance: Allowance, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(tmp_path / "whole", space, base)
    expected = search(driver_of(tmp_path / "whole", space, base, allowance))
    start(tmp_path / "pieces", space, base)
    late: list[bool] = []
    kills = kill_until_it_ends(
        [KILL_POINTS[point]],
        monkeypatch,
        lambda: search(driver_of(tmp_path / "pieces", space, base, allowance)),
        lambda kills: 3 + kills % 29,
        lambda: late.append(bool(replicates(open_study(tmp_path / "pieces", space).all_records()))),
    )
    found = open_study(tmp_path / "pieces", space).all_records()
    assert [(it.state, it.settings, it.values, it.note) for it in found] == [
        (it.state, it.settings, it.values, it.note) for it in expected
    ]
    assert Judgement(space, base, found).answer == Judgement(space, base, expected).answer
    assert kills >= 5
    assert any(late) or point == "decision"  # no decision is asked of a replicate


def test_several_at_once_wait_for_the_end_of_exploring(
    tmp_path: Path, space: Space, base: Config, allowance: Allowance
) -> None:
    start(tmp_path, space, base)
    driver = driver_of(tmp_path, space, base, allowance)
    live: list[Assignment] = []
    waited = 0
    while True:
        while len(live) < 3 and (assignment := driver.next()) is not None:
            live.append(assignment)
        if not live:
            break
        waited += len(live) < 3
        assert driver.may_go_on
        assert driver.unfinished()
        if replicates(driver.study.all_records()):
            assert not [it for it in live if driver.study.record(int(it.trial)).companion is None]
        train(driver, live.pop(0))
    records = driver.study.all_records()
    assert waited > 0
    assert len(replicates(records)) == len(set(replicates(records))) > 0
    assert TRAININGS - 1 < allowance.spent(records) <= TRAININGS
    assert driver.unfinished() == 0


def test_replicates_that_always_fail_come_to_an_end(
    tmp_path: Path, space: Space, base: Config, allowance: Allowance
) -> None:
    start(tmp_path, space, base)
    driver = driver_of(tmp_path, space, base, allowance)
    while (assignment := driver.next()) is not None:
        if assignment.config.seed == base.seed:
            train(driver, assignment)
        else:
            driver.finish(assignment.trial, Outcome(State.FAILED, "nan", "diverged"))
    assert len(replicates(driver.study.all_records())) == allowance.replicated(driver.study.all_records()) <= 6
    assert driver.unfinished() == 0


def test_patience_ends_a_search_whose_papers_setting_fails(tmp_path: Path, space: Space, base: Config) -> None:
    """Nothing else limits it, and there will be nothing to compare; also after a restart."""
    start(tmp_path, space, base)
    budget = Budget(patience=3, replicating=0.3)

    def begun() -> Driver:
        driver = driver_of(tmp_path, space, base, budget.allowance(EPOCHS, None))
        driver.use(Meter(driver.study, budget, 1.0))
        return driver

    def worse_than_those_before(driver: Driver, assignment: Assignment) -> None:
        for epoch in range(1, EPOCHS + 1):
            value = 0.5 - 0.01 * int(assignment.trial)
            driver.report(assignment.trial, {"training_iteration": epoch, "val/miou": value})

    driver = begun()
    paper, *others = [driver.next() for _ in range(8)]
    for assignment in others:  # while the paper's is being trained, exploring goes on
        assert assignment is not None
        worse_than_those_before(driver, assignment)
    assert driver.meter is not None
    assert driver.meter.stalled
    further = driver.next()
    assert further is not None
    assert paper is not None
    driver.finish(paper.trial, Outcome(State.INFEASIBLE, "memory", "too large"))
    worse_than_those_before(driver, further)
    assert driver.next() is None
    assert driver.unfinished() == 0
    assert begun().next() is None
    assert begun().unfinished() == 0


def test_the_papers_setting_is_never_stopped(tmp_path: Path, space: Space, base: Config, allowance: Allowance) -> None:
    """Though it is the worst from the first epoch on."""
    start(tmp_path, space, base)
    driver = driver_of(tmp_path, space, base, allowance)
    live = [driver.next() for _ in range(4)]
    for assignment in reversed(live):
        assert assignment is not None
        worst = assignment.trial == "0000"
        for epoch in range(1, EPOCHS + 1):
            value = 0.0 if worst else 0.5 + 0.01 * int(assignment.trial)
            if driver.report(assignment.trial, {"training_iteration": epoch, "val/miou": value}):
                break
        driver.finish(assignment.trial, COMPLETED)
    assert driver.study.record(0).state == State.COMPLETED
    assert State.STOPPED in {record.state for record in driver.study.records()}


def test_confirming_adds_replicates_to_a_search_by_trials(tmp_path: Path, space: Space, base: Config) -> None:
    start(tmp_path, space, base)
    before = search(driver_of(tmp_path, space, base, Allowance(EPOCHS), trials=6))
    assert not replicates(before)
    confirming = Allowance(EPOCHS, confirming=8)
    driver = driver_of(tmp_path, space, base, confirming, trials=6)
    assert driver.unfinished() == 8
    after = search(driver)
    assert len(replicates(after)) == 8
    assert [record.values for record in after[: len(before)]] == [record.values for record in before]


def test_a_lost_list_of_rounds_repeats_no_training(
    tmp_path: Path, space: Space, base: Config, allowance: Allowance
) -> None:
    start(tmp_path, space, base)
    driver = driver_of(tmp_path, space, base, allowance)
    records = search(driver)
    driver.study.study.set_user_attr("rounds", [])
    assert search(driver_of(tmp_path, space, base, allowance)) == records


def test_settings_and_trainings_of_a_judgement(space: Space, base: Config) -> None:
    """The same setting on the same seed counts once; a retry instead of what failed; a stopped training takes part."""
    path = "method.contrastive.temperature"
    paper = {path: 0.5}

    def record(number: int, params: dict[str, Any], state: State, **more: Any) -> TrialRecord:
        values = {epoch: 0.1 * epoch for epoch in range(1, more.pop("epochs", EPOCHS) + 1)}
        value = values[max(values)] if state != State.FAILED else None
        return TrialRecord(f"{number:04d}", number, state, params, values, value, **more)

    judgement = Judgement(
        space,
        base,
        [
            record(0, paper, State.COMPLETED, note=PAPER),
            record(1, {}, State.COMPLETED, note="supervised", companion=companion("supervised")),
            record(2, {path: 0.2}, State.FAILED, reason="lost", epochs=3),
            record(3, {path: 0.2}, State.STOPPED, retries=2, epochs=4),
            record(4, paper, State.COMPLETED),
            record(5, paper, State.COMPLETED, companion=Companion(Kind.REPLICATE, {"seed": 7}, 4)),
        ],
    )
    assert judgement.reference == "0000"
    assert judgement.labels == {0: "0000", 1: "0001", 2: "0003", 3: "0003", 4: "0000", 5: "0000"}
    assert [(run.setting, run.seed, max(run.values)) for run in judgement.runs] == [
        ("0000", base.seed, 1.0),
        ("0003", base.seed, pytest.approx(4 / EPOCHS, abs=0.12)),
        ("0000", 7, 1.0),
    ]
