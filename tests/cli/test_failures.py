"""What fails says so: by exit code, on stderr, in `status`, `best`, `list`; and it can be mended and run again."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.analysis.local_search import create
from tests.cli.conftest import Run
from tests.data.voc_folder import Folder
from u2pl_ray.cli import exit_codes
from u2pl_ray.config.overrides import load
from u2pl_ray.data.registry import resolve
from u2pl_ray.search.driver.assignment import Outcome
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.study.trial_record import State

SPACE = "parameters:\n  method.alpha.start: {min: 0.1, max: 0.5}\n"
ENVIRONMENT = {"U2PL_RAY_STORAGE": "storage", "WANDB_MODE": "disabled", "RAY_NUM_CPUS": "2", "OMP_NUM_THREADS": "1"}
ENVIRONMENT["RAY_worker_niceness"] = "0"  # or whatever else runs here starves the workers


@pytest.fixture
def experiment(storage: Path, config: Path) -> Experiment:
    """A search of two trials on the small data set, of which the first was interrupted."""
    made = create(storage, resolve(load(config)), SPACE, trials=2, name="mine")
    driver = Driver(made.study(), made.config, 2, made.folder / "trials")
    assert driver.next() is not None
    return made


def fail_all(experiment: Experiment, reason: str, detail: str) -> None:
    driver = Driver(experiment.study(), experiment.config, experiment.options.trials, experiment.folder / "trials")
    while (assignment := driver.next()) is not None:
        driver.finish(assignment.trial, Outcome(State.FAILED, reason, detail))


@pytest.mark.parametrize(
    ("verb", "more"),
    [("extend", ["--trials", "+1"]), ("resume", []), ("resume", ["data.root={root}"])],
)
def test_data_that_went_away_is_refused_before_anything_changes(
    run: Run, experiment: Experiment, voc: Folder, verb: str, more: list[str]
) -> None:
    voc.root.rename(voc.root.with_name("elsewhere"))
    before = {file: file.read_bytes() for file in experiment.folder.rglob("*") if file.is_file()}
    code, _, complaint = run(verb, "mine", *(word.format(root=voc.root) for word in more))
    assert code == exit_codes.INPUT
    (line,) = complaint.splitlines()
    assert line.startswith("error: data.root=")
    assert {file: file.read_bytes() for file in experiment.folder.rglob("*") if file.is_file()} == before


def test_data_that_moved_is_named_anew_and_the_change_recorded(
    run: Run, monkeypatch: pytest.MonkeyPatch, experiment: Experiment, voc: Folder
) -> None:
    from u2pl_ray.cli import continuing

    monkeypatch.setattr(continuing, "resume_experiment", lambda experiment, *rest: None)  # it would train
    monkeypatch.setattr(continuing, "tell_end", lambda experiment, ended: None)
    moved = voc.root.rename(voc.root.with_name("moved"))
    code, said, _ = run("resume", "mine", f"data.root={moved}")
    assert code == 0
    assert f"changed: data.root: {voc.root} -> {moved}" in said
    again = Experiment.open("mine")
    assert again.config.data.root == str(moved)
    assert again.repair(force=False) == []  # not an edit that results depend on
    (change,) = json.loads((experiment.folder / "experiment.json").read_text())["changes"]
    assert change["change"] == f"data.root: {voc.root} -> {moved}"


def test_an_edited_data_root_is_pointed_to_the_way(experiment: Experiment, tmp_path: Path) -> None:
    from u2pl_ray.config.errors import UserError

    file = experiment.folder / "config.yaml"
    file.write_text(file.read_text().replace("/set\n", "/moved\n"))
    with pytest.raises(UserError, match=r"u2pl-ray resume mine data\.root="):
        experiment.repair(force=False)


@pytest.mark.parametrize("change", ["optim.lr=0.5", "seed=3", "data.labeled=other.txt"])
def test_a_setting_that_results_depend_on_stays(run: Run, experiment: Experiment, change: str) -> None:
    code, _, complaint = run("resume", "mine", change)
    assert code == 2
    assert change.partition("=")[0] in complaint
    assert "data.root" in complaint


def test_a_search_in_which_nothing_succeeded_says_why_everywhere(run: Run, experiment: Experiment) -> None:
    fail_all(experiment, "nan", "the training loss is nan in epoch 1")
    status = json.loads(run("status", "mine", "--json")[1])
    assert status["state"] == "failed"
    assert status["reasons"] == ["0000, 0001 (nan): the training loss is nan in epoch 1"]
    said = run("status", "mine", "--once")[1]
    assert "no training succeeded" in said
    assert "the training loss is nan" in said
    code, _, complaint = run("best", "mine")
    assert code == 2
    assert "the training loss is nan" in complaint
    code, _, complaint = run("export", "mine")
    assert (code, "the training loss is nan" in complaint) == (2, True)
    (row,) = json.loads(run("list", "--json")[1])
    assert (row["name"], row["state"], row["done"], row["trials"]) == ("mine", "failed", 2, 2)
    target = experiment.folder / "page.html"
    assert run("report", "mine", "-o", target)[0] == 0
    page = target.read_text()
    assert '<i class="failed">failed</i>' in page
    assert "the training loss is nan in epoch 1" in page


def test_an_interrupted_trial_is_not_said_to_run(run: Run, experiment: Experiment) -> None:
    said = run("status", "mine", "--once")[1]
    assert "INTERRUPTED" in said
    assert "1 interrupted" in said
    assert not re.search(r"\bRUNNING\b|1 running", said)
    status = json.loads(run("status", "mine", "--json")[1])
    assert status["state"] == "interrupted"
    assert [trial["state"] for trial in status["trials"]] == ["INTERRUPTED"]
    assert status["budget"]["trials"] == {"limit": 2, "used": 0}
    assert status["seconds_left"] is None
    assert status["answer"]["sentence"]


def test_a_name_is_not_burnt_by_what_came_to_no_epoch(
    run: Run, monkeypatch: pytest.MonkeyPatch, experiment: Experiment, config: Path
) -> None:
    from u2pl_ray.search.experiment import plan, training

    monkeypatch.setattr(plan, "connect", lambda: None)
    monkeypatch.setattr(plan, "nodes", lambda: [{"CPU": 2.0, "memory": 2.0**33}])
    settings = resolve(load(config))
    code, _, complaint = run("train", config, "--name", "mine")
    assert (code, "exists already" in complaint) == (2, True)  # one that can go on is kept
    fail_all(experiment, "environment", "no network")
    planned = training.plan_training(settings, name="mine")
    assert any("no network" in note and "replaced" in note for note in planned.notes)
    assert Experiment.open("mine").options.trials == 2  # planning alone changes nothing
    assert planned.create().options.trials == 1
    assert [path.name for path in experiment.folder.parent.iterdir()] == ["mine"]


def test_an_experiment_with_an_epoch_is_never_replaced(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    from u2pl_ray.config.errors import UserError
    from u2pl_ray.search.experiment import plan, training

    monkeypatch.setattr(plan, "connect", lambda: None)
    monkeypatch.setattr(plan, "nodes", lambda: [{"CPU": 2.0, "memory": 2.0**33}])
    driver = Driver(experiment.study(), experiment.config, 2, experiment.folder / "trials")
    first = driver.next()
    assert first is not None
    driver.report(first.trial, {"training_iteration": 1, "val/miou": 0.1, "val/teacher/miou": 0.1})
    fail_all(experiment, "error", "broke")
    driver.finish(first.trial, Outcome(State.FAILED, "error", "broke"))
    with pytest.raises(UserError, match="exists already"):
        training.plan_training(experiment.config, name="mine")


@pytest.mark.parametrize("trained", [True, False])
def test_an_experiment_whose_baseline_was_trained_is_never_replaced(
    storage: Path, config: Path, monkeypatch: pytest.MonkeyPatch, trained: bool
) -> None:
    from u2pl_ray.config.errors import UserError
    from u2pl_ray.search.experiment import plan, training
    from u2pl_ray.search.study.companion import Companion, Kind

    monkeypatch.setattr(plan, "connect", lambda: None)
    monkeypatch.setattr(plan, "nodes", lambda: [{"CPU": 2.0, "memory": 2.0**33}])
    made = create(storage, resolve(load(config)), SPACE, trials=1, name="mine")
    made.study().enqueue({}, "supervised", companion=Companion(Kind.BASELINE, {"method.name": "supervised"}))
    driver = Driver(made.study(), made.config, 1, made.folder / "trials")
    paper = driver.next()
    assert paper is not None
    driver.finish(paper.trial, Outcome(State.FAILED, "environment", "no network"))
    if not trained:  # it is queued still
        assert training.plan_training(made.config, name="mine").replaces
        return
    baseline = driver.next()
    assert baseline is not None
    for epoch in range(1, made.config.train.epochs + 1):
        driver.report(baseline.trial, {"training_iteration": epoch, "val/miou": 0.1, "val/teacher/miou": 0.1})
    with pytest.raises(UserError, match="exists already"):
        training.plan_training(made.config, name="mine")


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "u2pl_ray", *map(str, arguments)]


@pytest.mark.ray
@pytest.mark.slow
def test_a_training_that_fails_ends_with_1_and_says_why(tmp_path: Path, config: Path) -> None:
    environment = {**os.environ, **ENVIRONMENT}
    started = command("train", config, "optim.lr=1e30", "--name", "s1")
    ended = subprocess.run(started, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == exit_codes.FAILED, ended.stdout + ended.stderr
    assert re.search(r"^s1: no training succeeded: 0000 \(nan\): ", ended.stderr, re.MULTILINE)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_notice_ends_with_75_and_the_same_command_goes_on(run: Run, tmp_path: Path, config: Path, kind: int) -> None:
    environment = {**os.environ, **ENVIRONMENT}
    started = command("train", config, "train.epochs=300", "--name", "s1", "--resume-if-exists")
    with subprocess.Popen(
        started, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "epoch 1/" in line:
                process.send_signal(kind)
                break
        rest = process.stdout.read()
    assert process.returncode == exit_codes.AGAIN, rest
    assert "u2pl-ray resume s1" in rest
    code, _, complaint = run("train", config, "train.epochs=299", "--name", "s1", "--resume-if-exists")
    assert code == exit_codes.INPUT
    assert "train.epochs=300" in complaint


@pytest.mark.parametrize(
    "kind", [signal.SIGTERM, *(pytest.param(it, marks=pytest.mark.slow) for it in (signal.SIGUSR1, signal.SIGINT))]
)
def test_a_notice_before_anything_runs_ends_with_75_too(tmp_path: Path, kind: int) -> None:
    code = (
        "import os, sys\nfrom u2pl_ray.cli import common, main\n"
        f"common.check_data = lambda settings: os.kill(os.getpid(), {int(kind)}) or __import__('time').sleep(9)\n"
        "from u2pl_ray.cli import training\ntraining.check_data = common.check_data\n"
        "main(['train', 'quickstart'])\n"
    )
    environment = {**os.environ, "U2PL_RAY_STORAGE": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where a shell runs the tests behind
    )
    assert ended.returncode == exit_codes.AGAIN, ended.stderr
    assert ended.stderr.strip().endswith("interrupted")
    shutil.rmtree(tmp_path)
