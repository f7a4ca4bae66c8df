"""More than one objective: what the study holds, what the front is, and what the verbs show; without Ray."""

import json
from pathlib import Path
from typing import Any

import pytest
from fake_training import miou
from optuna.trial import TrialState

from u2pl_ray.cli import main
from u2pl_ray.config import overrides
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.assignment import Outcome
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.space.file import parse_space, with_objectives
from u2pl_ray.search.space.space import Metric, Space
from u2pl_ray.search.study.trial_record import State

pytestmark = pytest.mark.usefixtures("two_cpus")

SECONDS = "perf/step_seconds"
PARAMETERS = """
parameters:
  method.contrastive.temperature: {distribution: log_uniform_values, min: 0.05, max: 2.0}
  method.memory_bank.capacity: {distribution: q_log_uniform_values, q: 1, min: 1000, max: 100000}
"""
TWO = PARAMETERS + f"metric: [{{name: val/miou, goal: maximize}}, {{name: {SECONDS}, goal: minimize}}]"


def metrics(config: Config, epoch: int) -> dict[str, Any]:
    """More keys help a little, and cost time."""
    capacity = config.method.memory_bank.capacity
    return {"training_iteration": epoch, "val/miou": miou(config, epoch) + 1e-6 * capacity, SECONDS: 1e-5 * capacity}


def search(folder: Path, base: Config, space: Space, trials: int, **more: Any) -> Experiment:
    made = plan_search(base, space, name="a", trials=trials, storage_path=folder, **more).create()
    driver = Driver(made.study(), base, trials, made.folder / "trials")
    while (assignment := driver.next()) is not None:
        for epoch in range(1, base.train.epochs + 1):
            if driver.report(assignment.trial, metrics(assignment.config, epoch)):
                break
        driver.finish(assignment.trial, Outcome(State.COMPLETED))
    return made


def test_a_list_of_metrics() -> None:
    space = parse_space(TWO, "s")
    assert space.objectives == (Metric("val/miou"), Metric(SECONDS, maximize=False))
    assert (
        with_objectives(parse_space(PARAMETERS, "s"), [Metric(SECONDS, maximize=False)]).objectives == space.objectives
    )
    for text, words in (
        ("[]", "at least one"),
        ("[{name: a, goal: minimize}, {name: a, goal: minimize}]", "a is named"),
    ):
        with pytest.raises(UserError, match=words):
            parse_space(PARAMETERS + f"metric: {text}", "s")


@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        ("tpe", {"n_startup_trials": 4}),
        ("nsga2", {"population_size": 4}),
        ("random", {}),
        ("qmc", {}),
        pytest.param("gp", {"n_startup_trials": 4}, marks=pytest.mark.slow),
    ],
)
def test_a_search_for_two_things(tmp_path: Path, base: Config, sampler: str, options: dict[str, int]) -> None:
    made = search(tmp_path, base, parse_space(TWO, "s"), 24, sampler=sampler, sampler_options=options)
    study = made.study()
    trials = study.study.get_trials()
    assert {trial.state for trial in trials} == {TrialState.COMPLETE, TrialState.PRUNED}  # ASHA by the first objective
    for trial, record in zip(trials, study.records(), strict=True):
        last = metrics(made.space.configure(base, record.params), record.epochs)
        if trial.state == TrialState.COMPLETE:
            assert tuple(trial.values) == record.objectives == (last["val/miou"], last[SECONDS])
        else:
            assert trial.values is None
            assert (record.objectives, record.value) == ((), last["val/miou"])
    front = study.front()
    assert {record.number for record in front} == {trial.number for trial in study.study.best_trials}
    assert [record.value for record in front] == sorted((record.value or 0.0 for record in front), reverse=True)
    assert made.status()["front"] == [record.id for record in front]


def test_what_cannot_be_weighed_is_refused(tmp_path: Path, base: Config) -> None:
    with pytest.raises(UserError, match=r"cmaes: cannot weigh 2 objectives; use one of tpe, "):
        plan_search(base, parse_space(TWO, "s"), name="a", trials=3, storage_path=tmp_path, sampler="cmaes")


def test_a_missing_second_objective_fails_the_trial(tmp_path: Path, base: Config) -> None:
    made = plan_search(base, parse_space(TWO, "s"), name="a", trials=1, storage_path=tmp_path).create()
    driver = Driver(made.study(), base, 1, made.folder / "trials")
    assert driver.next() is not None
    for epoch in range(1, base.train.epochs + 1):
        driver.report("0000", {"training_iteration": epoch, "val/miou": 0.5, "perf/step_second": 1.0})
    record = made.study().record(0)
    assert (record.state, record.reason, record.epochs) == (State.FAILED, "error", base.train.epochs - 1)
    assert "did you mean 'perf/step_second'" in record.detail


def test_the_front_in_the_verbs(
    tmp_path: Path, base: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = search(tmp_path, base, parse_space(TWO, "s"), 9, scheduler="none", sampler="random")
    front = made.study().front()
    assert 1 < len(front) < 9
    monkeypatch.chdir(tmp_path)

    def verb(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--storage-path", str(tmp_path)])
        told = capsys.readouterr()
        assert ended.value.code == 0, told.err
        return told.out

    table = verb("best", "a")
    told = json.loads(verb("best", "a", "--json"))["front"]
    assert [row["id"] for row in told] == [record.id for record in front]
    verb("export", "a")
    for record, row in zip(front, told, strict=True):
        assert record.id in table
        assert tuple(row["objectives"].values()) == record.objectives
        assert overrides.load(f"a-{record.id}.yaml") == made.space.configure(base, record.params)
    verb("export", "a", "--trial", "0001", "--output", "mine.yaml")
    assert overrides.load("mine.yaml") == made.space.configure(base, made.study().record(1).params)
    assert len(list(tmp_path.glob("a-*.yaml"))) == len(front)
