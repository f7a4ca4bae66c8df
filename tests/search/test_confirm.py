"""Which trainings a confirmation consists of, and what is concluded from them; without Ray."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from tests.search import small_search
from tests.search.fake_training import miou
from tests.search.small_search import SPACE, TEMPERATURE, train, train_with
from u2pl_ray.analysis import confirmation as analysis
from u2pl_ray.analysis.load import analyse
from u2pl_ray.analysis.status import as_data
from u2pl_ray.config import overrides
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.assignment import Outcome
from u2pl_ray.search.driver.budget import Budget, Meter, spent
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.experiment.confirm import plan_confirmation
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.extend import extend
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.experiment.replicates import add_replicates, record_budget
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.study.trial_record import State, TrialRecord

pytestmark = pytest.mark.usefixtures("two_cpus")

MORE = [(0.1, [0.5, 2.0]), (0.4, [1.0, 1.0]), (0.4, [1.0, 1.0]), (0.45, [0.5, 2.0])]


@pytest.fixture
def searched(tmp_path: Path, base: Config) -> Experiment:
    """A search of the paper's setting, two better or worse ones, and one of them twice."""
    return small_search.searched(tmp_path, base, mine=MORE)


def test_it_runs_where_the_search_ran(searched: Experiment) -> None:
    config = overrides.apply(searched.config, {"resources.device": "cpu", "resources.cpus_per_worker": 4})
    grown = replace(searched, config=config, options=replace(searched.options, max_concurrent=3, autoscale=True))
    plan = plan_confirmation(grown, top=2, seeds=3)  # two CPUs now: no worker of four fits yet
    assert (plan.fit.concurrent, plan.options.max_concurrent, plan.options.autoscale) == (3, 3, True)
    assert plan_confirmation(grown, top=2, seeds=3, max_concurrent=1).fit.concurrent == 1


def test_more_trainings_where_the_hours_are_used(searched: Experiment) -> None:
    """They come on top; no further setting starts, though no number of trials is given."""
    options = replace(searched.options, trials=None, budget=Budget(hours=1.0, replicating=0.3))
    searched = replace(searched, options=options)
    searched.study().study.set_user_attr("session/a", [0.0, 7200.0, 7200.0])
    before = searched.study().all_records()
    assert spent(searched.study(), options.budget)
    confirmed = add_replicates(searched, 4)
    assert confirmed.options.budget.words(gpu=True) == ["9 trainings' worth"]
    assert as_data(analyse(confirmed))["budget"]["trainings"] == {"limit": 9.0, "used": 5.0}
    assert Experiment.open("a", searched.place.storage).options.budget == confirmed.options.budget
    assert not spent(confirmed.study(), confirmed.options.budget)
    assert replicates_of(run(confirmed)[len(before) :]) == [True] * 4


@pytest.mark.parametrize(
    ("more", "hours"),
    [({"trials": 3}, None), ({"hours": 1.0}, 4.0), ({"patience": 2}, None), ({"trainings": 10}, None)],
    ids=["trials", "hours", "patience", "trainings"],
)
def test_a_search_whose_used_hours_were_added_to_is_extended(
    searched: Experiment, more: dict[str, Any], hours: float | None
) -> None:
    """New settings start again, and the share of replicates is that of the search; what was added stays on top."""
    searched = replace(searched, options=replace(searched.options, trials=None))
    searched = record_budget(searched, Budget(hours=1.0, replicating=0.3))
    searched.study().study.set_user_attr("session/a", [0.0, 7200.0, 7200.0])
    confirmed = add_replicates(searched, 4)
    before = run(confirmed)
    confirmed.study().study.set_user_attr("session/b", [7200.0, 10800.0, 3600.0])
    extended, said = extend(confirmed, **more)
    budget = extended.options.budget
    assert (budget.closed, budget.hours, budget.replicating, budget.confirming) == (None, hours, 0.3, 4)
    assert budget.looks == 3
    assert bool(said) == (hours is None)
    assert not spent(extended.study(), budget)
    if "hours" in more:  # the clock says when exploring ends
        return
    added = run(extended, Meter(extended.study(), budget, 1.0))[len(before) :]
    whole = [record for record in (*before, *added) if not record.replicate]
    assert len(whole) >= len(before) - 4 + (2 if "patience" in more else 3)
    if "trainings" in more:
        assert len(added) == 10
    else:  # 30 % of the whole are replicates, beside the four on top
        assert sum(replicates_of([*before, *added])) == 4 + int(len(whole) * 0.3 / 0.7)


def run(experiment: Experiment, meter: Meter | None = None) -> list[TrialRecord]:
    """Run all that the budget allows; return all trials."""
    driver = Driver(
        experiment.study(), experiment.config, experiment.options.trials, experiment.folder / "trials",
        allowance=experiment.allowance,
    )  # fmt: skip
    if meter is not None:
        driver.use(meter)
    train_with(driver)
    return driver.study.all_records()


def replicates_of(records: list[TrialRecord]) -> list[bool]:
    return [record.replicate for record in records]


def test_every_setting_with_every_new_seed(searched: Experiment) -> None:
    made = plan_confirmation(searched, top=2, seeds=3).create()
    assert (made.name, made.options.confirms, made.options.scheduler.name) == ("a-confirm", "a", "none")
    records = made.study().records()
    assert [record.note for record in records] == ["paper", "0004", "0002"] * 3
    assert [record.params["seed"] for record in records] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [record.params[TEMPERATURE] for record in records[:3]] == [0.5, 0.45, 0.4]
    for record in records:
        config = made.space.configure(made.config, record.params)
        assert (config.seed, config.optim.lr) == (record.params["seed"], 0.25)
    assert made.study().record(2).params["data.scale"] == [1.0, 1.0]


def test_the_plan_names_what_runs_and_what_it_cannot_tell(searched: Experiment) -> None:
    lines = plan_confirmation(searched, top=2, seeds=1).lines()
    told = [line.split(None, 2)[2] for line in lines if line.startswith("  trial ")]
    assert [line.partition(":")[0] for line in told] == ["paper", "0004", "0002"]  # these, not all their combinations
    assert "temperature=0.45" in told[1]
    assert not any(line.startswith("sampler") or " | " in line for line in lines)
    assert any("one seed tells nothing" in line for line in lines)
    assert any("the paper's setting is the best" in line for line in lines)
    more = plan_confirmation(searched, top=2, seeds=3).lines()
    assert not any("one seed" in line for line in more)


def test_interrupted_and_continued(searched: Experiment) -> None:
    made = plan_confirmation(searched, top=1, seeds=2).create()
    train(made, most=1)
    half = analysis.confirmation(Experiment.open(str(made.folder)))
    assert (half["done"], half["total"], half["settings"][1]["verdict"]) == (1, 4, "too few seeds")
    train(Experiment.open(str(made.folder)))
    file = analysis.write_confirmation(made)
    told = json.loads(file.read_text())
    assert (told["done"], told["of"], told["objective"], told["seeds"]) == (4, "a", "val/miou", [1, 2])
    paper, leader = told["settings"]
    for row, temperature in ((paper, 0.5), (leader, 0.45)):
        assert row["params"] == {TEMPERATURE: temperature, "data.scale": [0.5, 2.0]}
        values = [
            miou(made.space.configure(made.config, {**row["params"], "seed": seed}), made.config.train.epochs)
            for seed in (1, 2)
        ]
        assert list(row["values"].values()) == values
        assert row["mean"] == pytest.approx(np.mean(values))
        assert row["spread"] == pytest.approx(np.std(values, ddof=1))
    screen = io.StringIO()
    analysis.print_confirmation(made, Console(file=screen, width=80))
    assert "…" not in screen.getvalue()  # nothing is cut off
    for words in ("4 of 4 trainings", "0004", "paper", leader["verdict"], "temperature=0.45", "95%"):
        assert words in screen.getvalue()


@pytest.mark.parametrize("diverges", [False, True])
def test_a_leader_of_which_a_training_diverged_is_not_called_better(searched: Experiment, diverges: bool) -> None:
    made = plan_confirmation(searched, top=1, seeds=4).create()
    driver = Driver(made.study(), made.config, made.options.trials, made.folder / "trials")
    while (assignment := driver.next()) is not None:
        seed, leads = assignment.config.seed, assignment.config.method.contrastive.temperature != 0.5
        if diverges and leads and seed == 2:
            driver.finish(assignment.trial, Outcome(State.FAILED, "nan", "diverged"))
            continue
        value = (0.7 if leads else 0.5) + 0.001 * seed * (1 + leads)
        for epoch in range(1, assignment.config.train.epochs + 1):
            driver.report(assignment.trial, {"training_iteration": epoch, "val/miou": value})
        driver.finish(assignment.trial, Outcome(State.COMPLETED))
    paper, leader = analysis.confirmation(made)["settings"]
    assert (paper["diverged"], leader["diverged"], leader["pairs"]) == (0, int(diverges), 4 - diverges)
    assert leader["low"] > 0
    assert leader["verdict"] == ("not called better" if diverges else "better")
    screen = io.StringIO()
    analysis.print_confirmation(made, Console(file=screen, width=80))
    assert ("not called better, 1 of its trainings diverged" in screen.getvalue()) == diverges
    assert "…" not in screen.getvalue()


def test_there_is_nothing_to_confirm(tmp_path: Path, base: Config, searched: Experiment) -> None:
    made = plan_search(base, parse_space(SPACE, "s"), name="b", trials=2, storage_path=tmp_path).create()
    train(made, most=1)
    with pytest.raises(UserError, match="b: no trial but the paper's is complete"):
        plan_confirmation(made, 1, 1)
    for arguments in ({"top": 0, "seeds": 1}, {"top": 1, "seeds": 0}):
        with pytest.raises(UserError, match="give at least 1"):
            plan_confirmation(searched, arguments["top"], arguments["seeds"])


def against(paper: Any, leader: Any, leaders: int = 1, maximize: bool = True) -> dict[str, Any]:
    return analysis._against(dict(enumerate(paper)), dict(enumerate(leader)), leaders, maximize)


def test_the_interval_is_that_of_a_paired_t_test() -> None:
    paper, leader = np.array([0.61, 0.58, 0.63, 0.60]), np.array([0.64, 0.62, 0.64, 0.64])
    expected = stats.ttest_rel(leader, paper)
    for leaders in (1, 5):
        told = against(paper, leader, leaders)
        interval = expected.confidence_interval(1 - 0.05 / leaders)
        assert (told["low"], told["high"]) == pytest.approx((interval.low, interval.high))
        assert told["p"] == pytest.approx(expected.pvalue)
    assert against(paper, leader)["verdict"] == "better"
    assert against(paper, leader, maximize=False)["verdict"] == "worse"
    assert against(leader, paper)["verdict"] == "worse"
    assert against(paper, leader, leaders=50)["verdict"] == "not told apart from the noise"


def test_only_seeds_of_both_count() -> None:
    told = analysis._against({1: 0.5, 2: 0.6, 3: 0.7}, {2: 0.7, 3: 0.8, 4: 0.1}, 1, True)
    assert (told["pairs"], told["difference"]) == (2, pytest.approx(0.1))
    assert against([0.5], [0.6])["verdict"] == "too few seeds"
    assert against([], [])["difference"] is None


def test_settings_that_are_alike_are_seldom_told_apart() -> None:
    """Of 400 confirmations of three leaders that are all as good as the paper's, about one in twenty errs."""
    random = np.random.default_rng(0)
    wrong = 0
    for _ in range(400):
        trained = random.normal(0.6, 0.01, (4, 3)) + random.normal(0, 0.02, 3)  # the seed's own part is common
        verdicts = [against(trained[0], leader, 3)["verdict"] for leader in trained[1:]]
        wrong += any(verdict in ("better", "worse") for verdict in verdicts)
    assert 4 <= wrong <= 32
