import io
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from rich.console import Console

from tests.analysis.local_search import run
from u2pl_ray.analysis.answer import next_steps, standing
from u2pl_ray.analysis.load import analyse
from u2pl_ray.analysis.status import print_status, time_left, watch
from u2pl_ray.analysis.tables import evaluate_command
from u2pl_ray.search.driver.assignment import Outcome
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.storage import layout
from u2pl_ray.search.storage.lease import Lease
from u2pl_ray.search.storage.lease_marks import FileMark
from u2pl_ray.search.storage.waits import WaitFile, WaitingProcess, read_waits
from u2pl_ray.search.study.trial_record import State


def told(experiment: Experiment) -> str:
    page = io.StringIO()
    print_status(experiment, Console(file=page, width=120))
    return page.getvalue()


def test_a_finished_search(searched: Experiment) -> None:
    text = told(searched)
    assert "finished" in text
    assert "5 of 5 (" in text
    assert "epoch 3: 5 reached" in text
    best = analyse(searched).best
    assert best is not None
    assert f"trial {best.id} after 5 epochs" in text
    assert "time left" not in text
    for number in range(5):
        assert f"{number:04d}" in text


def test_a_search_that_nobody_runs_says_so(begun: Experiment) -> None:
    text = told(begun)
    assert "interrupted: nobody runs it; go on with u2pl-ray resume begun" in text
    assert "time left" not in text


HOLD = """
import sys, time
from pathlib import Path
from u2pl_ray.search.storage.lease import Lease
from u2pl_ray.search.storage.lease_marks import FileMark
from u2pl_ray.search.study.trial_record import State
with Lease(FileMark(Path(sys.argv[1])), "begun"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_driver_is_noticed(begun: Experiment) -> None:
    lease = begun.folder / "driver.lease"
    driver = subprocess.Popen([sys.executable, "-c", HOLD, str(lease)], stdout=subprocess.PIPE)
    assert driver.stdout is not None
    assert driver.stdout.readline() == b"held\n"
    assert "state      running" in told(begun)
    assert "time left  about" in told(begun)
    driver.kill()
    driver.wait()
    assert lease.exists()
    assert "interrupted" in told(begun)
    lease.unlink()


def test_the_time_left_is_the_pace_so_far(searched: Experiment) -> None:
    analysis = analyse(searched)
    assert time_left(analysis) == timedelta(0)
    experiment = replace(searched, options=replace(searched.options, trials=10))  # five more
    began = min(record.started for record in analysis.records if record.started is not None)
    left = time_left(replace(analysis, experiment=experiment), began + timedelta(minutes=10))
    assert left is not None
    assert abs(left - timedelta(minutes=10)) < timedelta(seconds=1)


def test_watching_ends_with_the_search(empty: Experiment) -> None:
    page = io.StringIO()
    console = Console(file=page, width=100, height=40, force_terminal=True)
    watching = threading.Thread(target=watch, args=(empty, console, 0.05))
    with Lease(FileMark(empty.folder / "driver.lease"), "empty"):
        watching.start()
        run(empty, trials=1)
    watching.join(timeout=30)
    assert not watching.is_alive()
    frames = page.getvalue()
    assert "not known before the first epoch" in frames
    assert frames.rstrip().rfind("interrupted") > frames.rfind("running")  # one of four trials done, and nobody runs it


def test_a_pipe_gets_it_once(begun: Experiment, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "u2pl_ray", "status", "begun", "--storage-path", str(begun.folder.parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "interrupted" in done.stdout
    assert "\x1b" not in done.stdout


def test_nothing_reported_has_no_time_left(empty: Experiment) -> None:
    assert time_left(analyse(empty)) is None


def test_a_search_with_a_trial_to_run_again_is_not_finished(searched: Experiment, tmp_path: Path) -> None:
    """As after `resume --retry-errored` and Ctrl-C: every trial has an end, and the driver has one more to run."""
    shutil.copytree(searched.folder, tmp_path / "again")
    experiment = Experiment.open(str(tmp_path / "again"))
    options = replace(experiment.options, trials=6)
    experiment = replace(experiment, options=options)
    driver = Driver(experiment.study(), experiment.config, 6, experiment.folder / "trials")
    broken = driver.next()
    assert broken is not None
    driver.finish(broken.trial, Outcome(State.FAILED, "error", "it broke"))
    assert standing(analyse(experiment)) == "finished"
    assert driver.retry_errored() == [broken.trial]
    analysis = analyse(experiment)
    assert standing(analysis) == "interrupted"
    assert [command for _, command in next_steps(analysis)] == [f"u2pl-ray resume {experiment.argument}"]
    retry = driver.next()
    assert retry is not None
    driver.finish(retry.trial, Outcome(State.FAILED, "error", "it broke again"))
    assert standing(analyse(experiment)) == "finished"


def test_without_a_test_list_the_next_command_scores_on_val(searched: Experiment) -> None:
    untested = searched.config.model_copy(update={"data": searched.config.data.model_copy(update={"test": None})})
    assert evaluate_command(searched) == f"u2pl-ray evaluate {searched.argument}"
    assert evaluate_command(replace(searched, config=untested)) == f"u2pl-ray evaluate {searched.argument} --split val"


def test_what_is_waited_for_is_named_while_it_runs(begun: Experiment, tmp_path: Path) -> None:
    folder = tmp_path / begun.name
    shutil.copytree(begun.folder, folder)
    experiment = Experiment.open(str(folder))
    file = WaitFile(folder)
    now = time.time()
    file.write(
        [
            WaitingProcess("0003", "worker 1", "a training step", now - 60),
            WaitingProcess("0001", "it", "room", now - 7200),
        ]
    )
    assert "waits" not in told(experiment)  # nobody runs it
    with Lease(FileMark(folder / layout.LEASE), "it"):
        lines = told(experiment).splitlines()
        first = next(number for number, line in enumerate(lines) if "waits for" in line)
        assert "0001: it waits for room, 2.0 h now" in lines[first]
        assert "0003: worker 1 waits for a training step, 1 min now" in lines[first + 1]
        file.write([])
        assert "waits for" not in told(experiment)


def test_a_killed_drivers_waits_end_with_its_trials(tmp_path: Path) -> None:
    """Of several drivers on one study; the files of the killed ones stay."""
    since = time.time() - 60
    mine, others, ended = (WaitingProcess(trial, "it", "room", since) for trial in ("0001", "0002", "0003"))
    WaitFile(tmp_path, "killed").write([others, ended])
    WaitFile(tmp_path, "alive").write([mine])
    assert read_waits(tmp_path, {"0001": "alive", "0002": "killed"}) == [mine, others]  # nobody has taken it over yet
    assert read_waits(tmp_path, {"0001": "alive", "0002": "alive"}) == [mine]
