"""Ending an experiment: `stop` its run from another terminal, `delete` its files."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tests.analysis.local_search import create
from tests.cli.conftest import Run
from tests.train.conftest import tiny
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.listeners.console import plain_console

SPACE = "parameters:\n  method.contrastive.temperature: {min: 0.1, max: 1.0}\n"
DRIVER = """
import sys, time
from u2pl_ray.cli.notice import heed_notice
from u2pl_ray.search.storage.place import find
try:
    with heed_notice(), getattr(find(sys.argv[1]), sys.argv[2])():
        print("held", flush=True)
        time.sleep(60)
except KeyboardInterrupt:
    sys.exit(75)
"""


@pytest.fixture
def experiment(storage: Path) -> Experiment:
    return create(storage, tiny(), SPACE, trials=2, name="here")


def drive(folder: Path, what: str) -> "subprocess.Popen[str]":
    """Start a process that holds the experiment (session), or is about to write it (starting)."""
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(folder), what], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    assert driver.stdout.readline() == "held\n"
    return driver


def test_stop_ends_the_process_that_runs_it(experiment: Experiment, run: Run) -> None:
    driver = drive(experiment.folder, "session")
    code, said, _ = run("stop", "here")
    assert driver.wait(10) == 75
    assert code == 0
    assert f"process {driver.pid} was told to stop" in said
    assert "next: u2pl-ray resume here" in said
    code, _, complained = run("stop", "here")
    assert (code, complained) == (2, "error: here: nobody runs it\n")


def test_one_that_starts_is_known_before_it_is_written(storage: Path, run: Run) -> None:
    assert "no such experiment" in run("status", "new")[2]
    driver = drive(storage / "new", "starting")
    for verb in ("status", "resume", "delete"):
        code, _, complained = run(verb, "new")
        assert (code, "new: is being started" in complained) == (2, True), complained
    code, _, complained = run("train", "quickstart", "--name", "new")
    assert (code, f"new: is being run by process {driver.pid}" in complained) == (2, True), complained
    code, said, _ = run("stop", "new")
    assert (code, driver.wait(10)) == (0, 75)
    assert "it was starting" in said
    assert "before anything of it was written" in said
    assert list(storage.iterdir()) == []
    assert "no such experiment" in run("stop", "new")[2]


def test_one_that_is_written_but_not_yet_run_is_not_taken_over(experiment: Experiment, run: Run) -> None:
    driver = drive(experiment.folder, "starting")  # as between its creation and its first trial
    assert experiment.is_running()
    code, _, complained = run("resume", "here")
    assert (code, f"is being run by process {driver.pid}" in complained) == (2, True), complained
    driver.kill()
    driver.wait(10)
    with experiment.place.session(), experiment.place.session():  # of a killed one nothing remains to wait for
        assert experiment.is_running()
    assert not experiment.is_running()


def test_delete_asks_refuses_and_deletes(experiment: Experiment, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    other = create(experiment.folder.parent, tiny(), SPACE, trials=2, name="other")
    with experiment.place.session():
        code, _, complained = run("delete", "here", "--yes")
        assert code == 2
        assert "is running; stop it first: u2pl-ray stop here" in complained
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    code, said, complained = run("delete", "here")
    assert code == 2
    assert f"{experiment.folder}: 0 trials" in said
    assert "add --yes" in complained
    assert experiment.folder.is_dir()
    assert run("delete", "here", "-y")[0] == 0
    assert not experiment.folder.exists()
    assert other.folder.is_dir()
    assert run("delete", "here", "-y")[0] == 2
    (experiment.folder.parent / "photos").mkdir()
    assert run("delete", "photos", "-y")[0] == 2  # no experiment
    assert (experiment.folder.parent / "photos").is_dir()


def test_a_job_that_goes_on_while_delete_asks_is_not_deleted(experiment: Experiment) -> None:
    terminal, other_end = os.openpty()
    command = [sys.executable, "-m", "u2pl_ray", "delete", "here"]
    asking = subprocess.Popen(command, stdin=other_end, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert asking.stdout is not None
    said = ""
    while "for good?" not in said:
        said += asking.stdout.read(1)
    job = drive(experiment.folder, "session")  # as of a queue that starts it again
    os.write(terminal, b"y\n")
    complained = asking.communicate(timeout=60)[1]
    assert (asking.returncode, complained.splitlines()) == (
        2,
        [f"error: here: is being run by process {job.pid}; stop that one first, or wait"],
    )
    assert experiment.place.holds("experiment.json")
    job.kill()
    job.wait()


def test_delete_refuses_a_link(storage: Path, experiment: Experiment, run: Run) -> None:
    link = storage / "link"
    link.symlink_to(experiment.folder)
    code, _, complained = run("delete", "link", "--yes")
    assert (code, complained) == (
        2,
        f"error: {link}: is a link to {experiment.folder}: delete that, then remove the link\n",
    )
    assert experiment.place.holds("experiment.json")


def test_tables_in_a_file_are_not_squeezed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert plain_console().width == 160  # pytest's stdout is no terminal
    monkeypatch.setenv("COLUMNS", "70")
    assert plain_console().width == Console(width=70).width
