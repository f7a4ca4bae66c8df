"""A driver that slept while another one took over its experiment: it stops, and damages nothing of the other's."""

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.search.driven import metrics
from tests.search.stored import a_plan
from tests.search.test_lease import lease, move_to_another_machine
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.execution.interrupts import AGAIN
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.space.space import Space

DRIVER = """
import sys, time
from types import SimpleNamespace
from tests.search.driven import metrics
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.execution.storage_watch import watch_storage
from u2pl_ray.search.execution.tune_scheduler import OUTCOME, REPORT, StudyScheduler
from u2pl_ray.search.execution.tune_searcher import StudySearcher
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.storage.lease import Lease

made = Experiment.open("a", sys.argv[1])
place = made.place
place._lease_of = lambda: Lease(place._mark, "a", beat=0.1)
with place.session():
    driver = Driver(made.study(), made.config, 3, made.folder / "trials", held=place.check_held)
    searcher, scheduler = StudySearcher(driver, lambda: 2, lambda trial: None), StudyScheduler(driver)
    config = searcher.suggest("first")
    trial = SimpleNamespace(config=config)
    report = lambda epoch: {REPORT: [metrics(made.config, epoch)]}
    scheduler.on_trial_result(None, trial, report(1))
    print("trained", flush=True)
    sys.stdin.readline()
    match sys.argv[2]:
        case "report": scheduler.on_trial_result(None, trial, report(2))
        case "end": scheduler.on_trial_result(None, trial, {OUTCOME: ["FAILED", "error", "broke"]})
        case "lost": searcher.on_trial_complete("first")
        case "next": searcher.suggest("second")
        case "nothing":
            with watch_storage(place, "resume"):
                time.sleep(20)
print("went on")
"""


@pytest.mark.parametrize("step", ["report", "end", "lost", "next", "nothing"])
def test_a_driver_that_slept_stops_and_damages_nothing(tmp_path: Path, base: Config, space: Space, step: str) -> None:
    made = a_plan(str(tmp_path), base, space).create()
    command = [sys.executable, "-W", "ignore", "-c", DRIVER, str(tmp_path), step]
    sleeper = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    assert sleeper.stdin is not None
    assert sleeper.stdout is not None
    assert sleeper.stdout.readline() == "trained\n"
    sleeper.send_signal(signal.SIGSTOP)
    mark = made.folder / "driver.lease"
    move_to_another_machine(mark)
    with lease(mark, stale=0.5):  # waits for as long
        driver = Driver(made.study(), base, 3, made.folder / "trials")
        taken = driver.next()
        assert taken is not None
        assert (taken.trial, taken.reported_epochs) == ("0000", 1)
        for epoch in range(2, 7):
            driver.report("0000", metrics(taken.config, epoch))
        before = written(made)
        sleeper.send_signal(signal.SIGCONT)
        sleeper.stdin.write("go on\n")
        sleeper.stdin.flush()
        assert select.select([sleeper.stdout], [], [], 30)[0], "it neither stopped nor went on"
        told, complaint = sleeper.communicate(timeout=30)
    assert (sleeper.returncode, told) == (AGAIN, "")
    assert complaint == (
        f"{made.folder}: process {os.getpid()} on this machine has taken over: this driver stops and writes no more; "
        f"see u2pl-ray status {made.folder}\n"
    )
    assert written(made) == before


def written(experiment: Experiment) -> dict[str, bytes]:
    """The study, and what the trials reported."""
    return {
        str(path): path.read_bytes()
        for path in experiment.folder.rglob("*")
        if path.name in ("study.journal", "epochs.jsonl")
    }


def test_a_step_looks_itself_if_a_beat_is_overdue(tmp_path: Path) -> None:
    path = tmp_path / "driver.lease"
    with lease(path, beat=60.0) as sleeper:
        path.unlink()
        with lease(path):
            assert sleeper.keeps()
            asleep = sleeper._held[1] - 130.0
            sleeper._held = (sleeper._held[0], asleep)  # the other clock stood still meanwhile
            assert not sleeper.keeps()


def test_a_lease_that_is_gone_after_a_sleep_was_anothers(tmp_path: Path) -> None:
    path = tmp_path / "driver.lease"
    with lease(path, beat=60.0, stale=0.2) as sleeper:
        path.unlink()
        sleeper._held = (sleeper._held[0] - 1.0, sleeper._held[1])
        sleeper._hold()
        assert sleeper.lost
        assert "ended" in sleeper.successor
        assert not path.exists()
    with lease(path, beat=60.0) as first:
        path.unlink()
        with lease(path):
            first._hold()
            assert first.lost
        first._hold()  # the other one has ended: what it did is not known here
        assert not path.exists()


SEARCH = """
from u2pl_ray.cli import main
from u2pl_ray.config.overrides import load
from u2pl_ray.data.registry import resolve
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.space.file import parse_space

config = resolve(load("quickstart", ["train.epochs=200", "workers=1", "method.warmup_epochs=0"]))
space = parse_space("parameters: {method.contrastive.temperature: {min: 0.1, max: 1.0}}", "s")
plan_search(config, space, name="slept", trials=1, trainer="fake_training:build_slow", scheduler="none").create()
main(["resume", "slept"])
"""


@pytest.mark.ray
@pytest.mark.slow
def test_a_search_that_slept_ends_with_75_and_so_do_its_trainings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("FAKE_EPOCH_SECONDS", "0.5")
    monkeypatch.setenv("RAY_NUM_CPUS", "1")
    monkeypatch.setenv("U2PL_RAY_STORAGE", str(tmp_path))
    sleeper = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SEARCH], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert sleeper.stdout is not None
    for line in sleeper.stdout:
        if "epoch 2/" in line:
            break
    sleeper.send_signal(signal.SIGSTOP)
    trial = tmp_path / "slept" / "trials" / "0000"
    move_to_another_machine(tmp_path / "slept" / "driver.lease")
    with lease(tmp_path / "slept" / "driver.lease", stale=11.0):  # longer than two beats, as always
        epochs, journal = (trial / "epochs.jsonl").read_bytes(), tmp_path / "slept" / "study.journal"
        study = journal.read_bytes()
        sleeper.send_signal(signal.SIGCONT)
        _, complaint = sleeper.communicate(timeout=60)
        assert sleeper.returncode == AGAIN, complaint
        assert "has taken over: this driver stops and writes no more" in complaint
        assert "Traceback" not in complaint
        time.sleep(15.0)  # Ray's processes end some seconds later
        trained = (trial / "train" / "state.json").read_text()
        time.sleep(3.0)
        assert (trial / "train" / "state.json").read_text() == trained
        assert int(trained) < 200
        assert (trial / "epochs.jsonl").read_bytes() == epochs
        assert journal.read_bytes() == study
