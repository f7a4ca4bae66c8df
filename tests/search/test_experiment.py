"""Experiments on disk, without Ray; what runs is in test_search.py."""

import json
from pathlib import Path
from typing import Any

import pytest

from u2pl_ray.config import overrides
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.budget import Budget
from u2pl_ray.search.experiment import plan as plans
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.plan import Plan, plan_search
from u2pl_ray.search.space.file import parse_space, with_objectives
from u2pl_ray.search.space.space import Metric, Space
from u2pl_ray.search.storage.place import default_storage, experiments
from u2pl_ray.search.study.trial_record import State


@pytest.fixture(autouse=True)
def cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two CPUs, as Ray would say."""
    monkeypatch.setattr(plans, "connect", lambda: None)
    monkeypatch.setattr(plans, "nodes", lambda: [{"CPU": 2.0, "memory": 2.0**33}])


def plan(tmp_path: Path, base: Config, space: Space, **more: Any) -> Plan:
    arguments: dict[str, Any] = {"name": "a", "trials": 3, "storage_path": tmp_path} | more
    return plan_search(base, space, **arguments)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_plan_writes_nothing_and_says_what_would_happen(tmp_path: Path, base: Config, space: Space) -> None:
    lines = "\n".join(plan(tmp_path, base, space, trials=7).lines())
    assert files(tmp_path) == set()
    for words in (
        "7 trials of at most 9 epochs, maximize val/miou",
        "asha, a trial can be stopped early, not before epoch 5 of 9",
        "2 // 1 = 2 trials at once",
        "method.contrastive.temperature  0.05 .. 2 (log)   first: 0.5",
        "method.memory_bank.capacity: the paper's 30000 is outside",
        "GiB free",
    ):
        assert words in lines


def test_says_that_a_sampler_ignores_priors(tmp_path: Path, base: Config) -> None:
    text = "parameters:\n  method.contrastive.temperature: {min: 0.1, max: 1.0, prior: 0.5}\n"
    lines = "\n".join(plan(tmp_path, base, parse_space(text, "space.yaml")).lines())
    assert "tpe takes no priors; those of method.contrastive.temperature are ignored" in lines


@pytest.mark.parametrize(
    ("trials", "budget", "words"),
    [
        (None, Budget(hours=2, replicating=0.3), "ends after 2 hours; 30% of it trains the leaders"),
        (30, Budget(replicating=0.3), "ends after 30 trials; 30% of it trains the leaders"),
        (30, Budget(hours=2), "ends after 2 hours"),
    ],
)
def test_a_budget_that_is_shared_out(
    tmp_path: Path, base: Config, space: Space, trials: int | None, budget: Budget, words: str
) -> None:
    planned = plan_search(base, space, name="a", trials=trials, budget=budget, storage_path=tmp_path)
    lines = "\n".join(planned.lines())
    assert words in lines
    assert ("again, on new seeds" in lines) == bool(budget.replicating)
    assert planned.options.sampler.name == ("noisy-gp" if budget.replicating else "tpe")
    assert Experiment.open(planned.create().name, tmp_path).options.budget == budget


def test_replicates_need_one_objective_and_the_papers_setting(tmp_path: Path, base: Config, space: Space) -> None:
    budget = Budget(hours=2, replicating=0.3)
    seeds = parse_space("parameters: {seed: {values: [1, 2]}, method.alpha.start: {min: 0.1, max: 0.3}}", "s")
    planned = plan_search(base, seeds, name="a", trials=None, budget=budget, storage_path=tmp_path)
    assert planned.options.budget.replicating == 0
    assert any("the seed is searched" in note for note in planned.notes)
    two = with_objectives(space, [Metric("perf/step_seconds", maximize=False)])
    with pytest.raises(UserError, match="--replicate: judges settings by one objective"):
        plan_search(base, two, name="a", trials=3, budget=Budget(replicating=0.3), storage_path=tmp_path, sampler="tpe")


def test_created_whole(tmp_path: Path, base: Config, space: Space) -> None:
    made = plan(tmp_path, base, space).create()
    assert files(tmp_path) == {
        "a", "a/experiment.json", "a/config.yaml", "a/space.yaml", "a/study.journal", "a/trials",
        "a/start", "a/start/experiment.json", "a/start/config.yaml", "a/start/space.yaml",
    }  # fmt: skip
    assert (tmp_path / "a" / "space.yaml").read_text() == space.text
    again = Experiment.open("a", tmp_path)
    assert (again.config, again.options) == (base, made.options)
    assert again.space.parameters == space.parameters
    assert set(again.versions) == {"python", "u2pl_ray", "ray", "optuna", "torch"}
    (first,) = again.study().records()
    assert (first.state, first.note) == (State.PENDING, "paper")
    assert Experiment.open(str(tmp_path / "a")).name == "a"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"trials": 0}, ["--trials 0"]),
        ({"name": "a/b"}, ["--name 'a/b'"]),
        ({"name": ""}, ["--name ''"]),
        ({"name": ".."}, ["--name '..'"]),
        ({"sampler": "tpee"}, ["sampler 'tpee'", "did you mean"]),
        ({"scheduler": "ahsa"}, ["scheduler 'ahsa'", "did you mean"]),
        ({"scheduler_options": {"factor": 1}}, ["factor 1"]),
        ({"max_concurrent": 0}, ["--max-concurrent 0"]),
        ({"storage_path": "/proc/nowhere"}, ["--storage-path /proc/nowhere", "cannot be written"]),
        ({"storage_path": "/dev/null/x"}, ["--storage-path /dev/null/x"]),
    ],
)
def test_bad_input_leaves_nothing(
    tmp_path: Path, base: Config, space: Space, more: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        plan(tmp_path, base, space, **more)
    for word in words:
        assert word in str(caught.value)
    assert files(tmp_path) == set()


def test_more_workers_than_the_cluster_has(tmp_path: Path, base: Config, space: Space) -> None:
    config = overrides.apply(base, {"workers": 4})
    with pytest.raises(UserError, match=r"workers=4 does not fit this cluster: .* 2 // 4 = 0 trials"):
        plan(tmp_path, config, space)
    assert files(tmp_path) == set()


def test_an_existing_name_is_refused_and_left_alone(tmp_path: Path, base: Config, space: Space) -> None:
    other = plan(tmp_path, base, space)
    plan(tmp_path, base, space).create()
    before = {path: path.read_bytes() for path in (tmp_path / "a").iterdir() if path.is_file()}
    with pytest.raises(UserError, match="u2pl-ray resume a"):
        plan(tmp_path, base, space)
    with pytest.raises(UserError, match="u2pl-ray resume a"):
        other.create()  # created by someone else since it was planned
    assert before == {path: path.read_bytes() for path in (tmp_path / "a").iterdir() if path.is_file()}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_failing_creation_leaves_nothing(
    tmp_path: Path, base: Config, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plans.TrialStudy, "enqueue", full)
    with pytest.raises(UserError, match="No space left on device"):
        plan(tmp_path, base, space).create()
    assert files(tmp_path) == set()


def test_the_spaces_hints_choose_sampler_and_scheduler(tmp_path: Path, base: Config) -> None:
    text = (
        "parameters: {optim.lr: {min: 0.1, max: 1.0}}\nmethod: random\nearly_terminate: {type: hyperband, min_iter: 4}"
    )
    hinted = plan(tmp_path, base, parse_space(text, "s")).options
    assert (hinted.sampler.name, hinted.scheduler.options) == ("random", {"grace": 4, "factor": 3})
    told = plan(tmp_path, base, parse_space(text, "s"), sampler="qmc", scheduler="none").options
    assert (told.sampler.name, told.scheduler.name) == ("qmc", "none")


def both(folder: Path, file: str) -> Path:
    """The file, with its copy deleted."""
    (folder / "start" / file).unlink()
    return folder / file


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: both(folder, "experiment.json").write_text("{"), ["experiment.json: damaged"]),
        (lambda folder: both(folder, "experiment.json").write_text("{}"), ["experiment.json: damaged"]),
        (lambda folder: both(folder, "experiment.json").unlink(), ["no such experiment"]),
        (lambda folder: both(folder, "config.yaml").unlink(), ["config.yaml: is gone"]),
        (lambda folder: both(folder, "space.yaml").unlink(), ["space.yaml: is gone"]),
        (lambda folder: both(folder, "space.yaml").write_text("x: 1"), ["space.yaml: unknown key 'x'"]),
        (lambda folder: (folder / "study.journal").unlink(), ["study.journal: the study is gone"]),
    ],
)
def test_missing_and_damaged_files_are_named(
    tmp_path: Path, base: Config, space: Space, damage: Any, words: list[str]
) -> None:
    plan(tmp_path, base, space).create()
    damage(tmp_path / "a")
    with pytest.raises(UserError) as caught:
        Experiment.open("a", tmp_path).study()
    for word in words:
        assert word in str(caught.value)


def test_a_format_from_the_future(tmp_path: Path, base: Config, space: Space) -> None:
    plan(tmp_path, base, space).create()
    file = tmp_path / "a" / "experiment.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 99}))
    with pytest.raises(UserError, match="format 99"):
        Experiment.open("a", tmp_path)


def test_no_such_experiment_names_the_nearest(tmp_path: Path, base: Config, space: Space) -> None:
    plan(tmp_path, base, space, name="camvid-paper").create()
    with pytest.raises(UserError, match="did you mean 'camvid-paper'"):
        Experiment.open("camvid-papr", tmp_path)
    assert experiments(tmp_path) == ["camvid-paper"]


def test_status_best_and_checkpoint(tmp_path: Path, base: Config, space: Space) -> None:
    made = plan(tmp_path, base, space).create()
    assert made.status() == {
        "name": "a",
        "best": None,
        "trials": [
            {"id": "0000", "state": "PENDING", "epochs": 0, "params": made.study().record(0).params, "metrics": {}}
        ],
    }
    assert made.write_best() is None
    study = made.study()
    study.start_queued()
    study.report(0, 1, 0.5)
    trial = made.folder / "trials" / "0000"
    (trial / "train" / "epoch_00001").mkdir(parents=True)
    (trial / "train" / "epoch_00001" / "checkpoint.pt").touch()
    metrics = {"training_iteration": 1, "val/miou": 0.5, "hist": [1, 2], "checkpoint": "train/epoch_00001"}
    (trial / "epochs.jsonl").write_text(json.dumps(metrics) + "\n")
    (told,) = made.status()["trials"]
    assert (told["state"], told["epochs"]) == ("INTERRUPTED", 1)  # nobody runs it
    assert told["metrics"] == {"training_iteration": 1, "val/miou": 0.5}
    assert made.checkpoint("0000") == str(trial / "train" / "epoch_00001")
    study.fail(0, "nan", "diverged")
    (told,) = made.status()["trials"]
    assert (told["state"], told["reason"], told["detail"]) == ("FAILED", "nan", "diverged")


def test_best_yaml_is_a_whole_configuration(tmp_path: Path, base: Config, space: Space) -> None:
    made = plan(tmp_path, base, space).create()
    study = made.study()
    record = study.start_queued()
    assert record is not None
    study.report(0, 1, 0.5)
    file = made.write_best()
    assert file is not None
    assert file.read_text().startswith("# Trial 0000 of a: val/miou 0.5 after 1 epoch.\n")
    assert overrides.load(file) == space.configure(base, record.params)


def test_default_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("U2PL_RAY_STORAGE", "/somewhere")
    assert default_storage() == "/somewhere"
    monkeypatch.setenv("U2PL_RAY_STORAGE", "")
    assert default_storage() == str(Path.home() / "u2pl-ray")
