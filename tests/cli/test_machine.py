"""What the machine, its environment and its terminal do to the program."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.data.voc_folder import Folder
from u2pl_ray.config.errors import UserError
from u2pl_ray.search.cluster.connection import check_temporary_folder
from u2pl_ray.train import measurement


def shell(*arguments: object, **changes: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **changes}
    for name in ("WANDB_MODE", "RAY_TMPDIR"):
        if name not in changes:
            environment.pop(name, None)
    command = [sys.executable, "-m", "u2pl_ray", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture
def deep(tmp_path: Path, no_ray: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder is one as job queues make them, too deep for a socket."""
    folder = tmp_path / ("job_" + "4" * 60) / "tmp"
    folder.mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", None)  # or this process goes on with the one it knows
    return folder


def test_a_deep_temporary_folder_is_one_line(deep: Path, config: Path, storage: Path, run: Run) -> None:
    code, _, complaint = run("train", config)
    assert code == 2, complaint
    (line,) = [line for line in complaint.splitlines() if not line.startswith("warning:")]
    assert line.startswith(f"error: TMPDIR={deep}: too long")
    assert "RAY_TMPDIR" in line
    assert not list(storage.rglob("*"))


def test_doctor_says_so_too(deep: Path, run: Run) -> None:
    code, said, _ = run("doctor")
    assert code == 1
    assert f"!!  TMPDIR={deep}: too long" in said


@pytest.mark.parametrize("number", ["abc", "0", "-1", "1.5"])
def test_a_number_of_cpus_that_is_none_is_one_line(
    no_ray: None, config: Path, run: Run, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    monkeypatch.setenv("RAY_NUM_CPUS", number)
    why = f"RAY_NUM_CPUS={number}: give a whole number of CPUs, or unset it to use all of this process"
    code, said, _ = run("doctor")
    assert (code, f"!!  {why}" in said) == (1, True), said
    if number == "abc":
        code, _, complaint = run("train", config)
        assert (code, complaint.splitlines()[-1]) == (2, f"error: {why}")


def test_doctor_goes_on_where_nodes_do_not_join(
    no_ray: None, run: Run, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    from u2pl_ray.search.cluster import connection

    monkeypatch.setattr(connection, "_JOINING", 0.5)  # they have minutes otherwise
    monkeypatch.setattr(connection, "check_address", lambda *told: None)
    monkeypatch.setattr(ray, "init", lambda **options: None)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True}])
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setenv("U2PL_RAY_NODES", "2")
    code, said, complaint = run("doctor")
    assert (code, complaint) == (1, "")
    assert "!!  U2PL_RAY_NODES=2: only 1 nodes joined within 0.5 s" in said
    assert f"{storage}: " in said
    assert "1 problem found" in said


def test_the_bound_is_that_of_the_sockets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from ray._private.utils import validate_socket_filepath

    from u2pl_ray.search.cluster.connection import _SOCKET

    room = 107 - len(_SOCKET) - 1
    for length, fits in ((room, True), (room + 1, False)):
        folder = "/tmp/".ljust(length, "x")
        monkeypatch.setenv("RAY_TMPDIR", folder)
        for check in (check_temporary_folder, lambda path=folder: validate_socket_filepath(f"{path}/{_SOCKET}")):
            if fits:
                check()
            else:
                with pytest.raises((UserError, OSError)):
                    check()


def test_a_key_that_is_none(storage: Path) -> None:
    ended = shell("doctor", WANDB_API_KEY="abc", U2PL_RAY_STORAGE=str(storage))
    assert ended.returncode == 1, ended.stderr
    assert "!!  WANDB_API_KEY is not a key" in ended.stdout
    assert "Traceback" not in ended.stderr
    assert "abc" not in ended.stdout.replace("abc is", "")


@pytest.mark.parametrize("verb", [["data", "check"], ["train"]])
def test_a_terminal_without_umlauts(voc: Folder, config: Path, verb: list[str], storage: Path) -> None:
    (voc.root / "classes.json").write_text('["背景", "Käfer", "dog"]', "utf-8")
    more = ["--dump-config"] if verb == ["train"] else []
    ended = shell(*verb, config, *more, PYTHONIOENCODING="ascii", U2PL_RAY_STORAGE=str(storage))
    assert ended.returncode == 0, ended.stderr
    assert "K?fer" in ended.stdout or r"K\xe4fer" in ended.stdout


def test_a_process_kept_to_one_core_starts_a_ray_of_one(storage: Path) -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from u2pl_ray.search.cluster.connection import _share; print(_share()['num_cpus'])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "RAY_NUM_CPUS"}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert ended.stdout.strip() == "1", ended.stderr


SPACE = "metric: {{name: {metric}, goal: maximize}}\nparameters:\n  {body}\n"


@pytest.mark.parametrize(
    ("metric", "more", "words"),
    [
        ("val/mIoU", [], ["val/mIoU", "did you mean 'val/miou'"]),
        ("val/iou/bird", [], ["val/iou/bird"]),
        ("val/miou", ["--objective", "perf/steps_seconds=minimize"], ["did you mean 'perf/step_seconds'"]),
        ("val/confusion", [], ["val/confusion"]),  # no number
    ],
)
def test_an_objective_that_no_trial_reports(
    run: Run, config: Path, storage: Path, tmp_path: Path, metric: str, more: list[str], words: list[str]
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(SPACE.format(metric=metric, body="method.alpha.start: {min: 0.1, max: 0.5}"))
    code, _, complaint = run("search", config, "--space", space, "--trials", 2, *more)
    assert code == 2
    for word in words:
        assert word in complaint
    assert not list(storage.rglob("*"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--scheduler-option", "grace=100"], ["grace=100 is never reached", "train.epochs=10"]),
        (["--scheduler-option", "grace=9"], ["after epoch 10, 9 after the warm-up of 1"]),
        (["--scheduler", "median", "--scheduler-option", "grace=10"], ["grace=10 is never reached"]),
        (["--scheduler", "pbt", "--scheduler-option", "interval=50"], ["interval=50 is never reached"]),
    ],
)
def test_a_scheduler_that_never_acts(
    run: Run, config: Path, storage: Path, options: list[str], words: list[str]
) -> None:
    code, _, complaint = run("search", config, "train.epochs=10", "--space", "temperature", "--trials", 4, *options)
    assert code == 2
    for word in words:
        assert word in complaint


def test_dotted_keys_and_numbers_in_a_file(run: Run, voc: Folder, tmp_path: Path) -> None:
    file = tmp_path / "dotted.yaml"
    file.write_text(
        f"data: {{root: {voc.root}, crop: 32}}\nmethod.alpha.start: 3e-1\nmethod:\n  alpha.end: 1e-2\n"
        "method.contrastive: {low_rank: 1, high_rank: 3}\noptim.lr: '1e-3'\n"
    )
    code, said, complaint = run("train", file, "--dump-config")
    assert code == 0, complaint
    for line in ("start: 0.3", "end: 0.01", "lr: 0.001"):
        assert line in said
    file.write_text(file.read_text() + "  alpha: {start: 0.4}\nmethod.alpha: {start: 0.5}\n")
    code, _, complaint = run("train", file, "--dump-config")
    assert code == 2
    assert len(complaint.splitlines()) == 1


def test_numbers_written_as_text_are_choices_of_numbers(
    run: Run, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: Path
) -> None:
    from u2pl_ray.config.overrides import load
    from u2pl_ray.search.space.file import load_space
    from u2pl_ray.search.space.paper_setting import paper_setting

    file = tmp_path / "space.yaml"
    body = "optim.lr: {values: [0.01, 1e-3, '1e-4']}\n  optim.momentum: {value: '9e-1'}"
    file.write_text(SPACE.format(metric="val/miou", body=f"{body}\n  model.encoder: {{values: ['1', tu-resnet10t]}}"))
    space = load_space(file)
    assert space.parameters["optim.lr"].choices == (0.01, 0.001, 0.0001)
    assert space.constants == {"optim.momentum": 0.9}
    assert space.parameters["model.encoder"].choices == ("1", "tu-resnet10t")  # a text stays one
    setting, notes = paper_setting(space, load(config))
    assert setting["optim.lr"] == 0.001
    assert not [note for note in notes if "optim.lr" in note]


def test_options_of_the_sampler_are_numbers_too() -> None:
    from u2pl_ray.cli.common import parse_options

    assert parse_options("--sampler-option", ["a=1e-3", "b=1E5", "c=x", "d=-2e+2", "e=1e"]) == {
        "a": 0.001, "b": 1e5, "c": "x", "d": -200.0, "e": "1e",
    }  # fmt: skip


QUICK = """
from u2pl_ray.train import measuring
measuring._ENOUGH = 0.0
measuring.main()
"""
"""The program that measures, content with the fewest steps: by default it takes up to four seconds of each kind."""


def test_a_warning_is_no_problem(run: Run, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`doctor && train` works where `train` would only warn."""
    (tmp_path / "quick.py").write_text(QUICK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(measurement, "_MODULE", "quick")
    code, out, _ = run("doctor", config, "data.test=null", "model.normalization=group")
    assert code == 0
    assert "all well, 2 warnings" in out  # the other: val has one image
    assert "data.test is null" in out
    assert "measured: 4 and 4 steps" in out
