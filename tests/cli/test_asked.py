"""`search --resume-if-exists` with other options than the experiment has; all but the trainings is real."""

import json
from pathlib import Path

import pytest

from tests.analysis.local_search import create
from tests.cli.conftest import Run
from tests.cli.test_failures import fail_all
from tests.search.small_search import searched
from tests.search.test_damaged_journal import damage
from tests.train.conftest import tiny
from u2pl_ray.search.experiment import plan
from u2pl_ray.search.experiment.experiment import Experiment

SPACE = "parameters:\n  method.contrastive.temperature: {min: 0.1, max: 1.0}\n"


@pytest.fixture(autouse=True)
def two_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "connect", lambda: None)
    monkeypatch.setattr(plan, "nodes", lambda: [{"CPU": 2.0, "memory": 2.0**33}])


def again(experiment: Experiment, *options: object) -> list[object]:
    """The command line that started an experiment, with other options."""
    files = [experiment.folder / "config.yaml", "--space", experiment.folder / "space.yaml"]
    where = ["--name", experiment.name, "--storage-path", experiment.place.storage]
    return ["search", *files, *where, "--resume-if-exists", *options]


def stored(experiment: Experiment) -> list[object]:
    """What two files say of three options."""
    texts = [(experiment.folder / part / "experiment.json").read_text() for part in ("", "start")]
    options = [json.loads(text)["options"] for text in texts]
    assert options[0] == options[1]
    return [options[0][name] for name in ("max_concurrent", "keep", "autoscale")]


def test_what_is_not_taken_is_said(tmp_path: Path, run: Run) -> None:
    made = searched(tmp_path, tiny())
    code, said, complaint = run(*again(made))
    assert (code, "is finished" in said, complaint) == (0, True, "")
    same = ["--sampler", "tpe", "--scheduler", "none", "--seed", 0, "--baseline", "none", "--trials", 4]
    assert run(*again(made, *same))[2] == ""
    options = ["--hours", 48, "--gpu-hours", 9, "--trainings", 7, "--patience", 3, "--trials", 5, "--seed", 1]
    options += ["--sampler", "random", "--sampler-option", "n_startup_trials=5", "--scheduler", "asha"]
    options += ["--scheduler-option", "grace=2", "--baseline", "supervised", "--study-url", "sqlite:///x.db"]
    options += ["--warm-start", "b", "--replicate"]
    code, said, complaint = run(*again(made, *options))
    assert (code, "is finished" in said) == (0, True)
    lines = complaint.splitlines()
    assert [line.split()[1].rstrip(":") for line in lines] == [
        *("--trials", "--trainings", "--hours", "--gpu-hours", "--patience", "--replicate", "--sampler"),
        *("--sampler-option", "--scheduler", "--scheduler-option", "--seed", "--baseline", "--study-url"),
        "--warm-start",
    ]
    assert lines[0] == "warning: --trials 5: a has 4; `u2pl-ray extend` changes that"
    assert lines[2] == "warning: --hours 48: a has no such limit; `u2pl-ray extend` changes that"
    assert lines[6] == "warning: --sampler random: a has tpe, and keeps it"


def test_what_the_space_fixes_is_no_other_configuration(tmp_path: Path, run: Run) -> None:
    made = searched(tmp_path, tiny())  # its space has optim.lr: {value: 0.25}
    command = again(made)
    code, said, complaint = run(*command[:2], "optim.lr=0.1", *command[2:])
    assert (code, "is finished" in said) == (0, True), complaint


def test_a_setting_without_effect_on_results_is_said_too(tmp_path: Path, run: Run) -> None:
    made = searched(tmp_path, tiny())
    command = again(made)
    code, _, complaint = run(*command[:2], "resources.cpus_per_worker=2", *command[2:])
    assert code == 0
    change = f"`u2pl-ray resume a --storage-path {tmp_path} resources.cpus_per_worker=...` changes that"
    assert complaint == f"warning: resources.cpus_per_worker: a has another, and keeps it; {change}\n"


def test_options_on_which_no_result_depends_are_taken(storage: Path, run: Run) -> None:
    made = create(storage, tiny(), SPACE, trials=2)
    fail_all(made, "error", "broke")
    assert stored(made) == [None, 5, False]
    code, said, complaint = run(*again(made, "--max-concurrent", 16, "--keep-trials", 3))
    assert (code, "here: no training succeeded" in complaint) == (1, True), complaint
    assert "changed: --max-concurrent: what the cluster holds -> 16\nchanged: --keep-trials: 5 -> 3\n" in said
    assert stored(made) == [16, 3, False]
    assert "changed: " not in run(*again(made))[1]  # not given: they stay
    assert stored(made) == [16, 3, False]
    code, said, complaint = run("resume", "here", "--max-concurrent", 8)
    assert (code, "changed: --max-concurrent: 16 -> 8\n" in said) == (1, True), complaint
    assert stored(made) == [8, 3, False]
    for options in (["--max-concurrent", 0], ["--keep-trials", 0], ["--autoscale"]):  # the device of nodes is not known
        code, _, complaint = run(*again(made, *options))
        assert (code, complaint.startswith(f"error: {options[0]}")) == (2, True), complaint
    assert stored(made) == [8, 3, False]


def test_nothing_is_taken_while_it_runs(storage: Path, run: Run) -> None:
    made = create(storage, tiny(), SPACE, trials=2)
    with made.place.session():
        code, _, complaint = run(*again(made, "--max-concurrent", 16))
        assert (code, "here: is being run by process" in complaint) == (2, True), complaint
    assert stored(made) == [None, 5, False]


def test_a_damaged_journal_is_restored_as_resume_does(tmp_path: Path, run: Run) -> None:
    made = searched(tmp_path, tiny())
    damage(made.folder / "study.journal", b"{")
    code, said, complaint = run(*again(made))
    assert code == 0, complaint
    assert "damaged after" in said
    assert [record.state.value for record in Experiment.open("a", tmp_path).study().records()] == ["COMPLETED"] * 4
