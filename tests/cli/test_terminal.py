import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from u2pl_ray.cli.terminal import Outlet, outlive_terminal
from u2pl_ray.search.experiment.experiment import Experiment

TESTS = Path(__file__).parents[1]
DRIVER = """
import sys
from u2pl_ray.cli import main
from u2pl_ray.config.overrides import load
from u2pl_ray.data.registry import resolve
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.space.file import parse_space

config = resolve(load("quickstart", ["train.epochs=8", "workers=1", "method.warmup_epochs=0"]))
space = parse_space("parameters: {method.contrastive.temperature: {min: 0.1, max: 1.0}}", "s")
plan_search(config, space, name="away", trials=2, trainer="fake_training:build_slow", scheduler="none").create()
main(["resume", "away"])
"""


def test_what_nobody_reads_is_dropped() -> None:
    reader, writer = os.pipe()
    stream = Outlet(os.fdopen(writer, "w"))
    stream.write("heard\n")
    stream.flush()
    assert os.read(reader, 100) == b"heard\n"
    os.close(reader)
    for _ in range(3):
        stream.write("x" * 100_000)
        stream.flush()
    stream.close()


def test_a_full_disk_is_not_a_lost_terminal() -> None:
    with open("/dev/full", "w") as full:
        stream = Outlet(full)
        stream.write("x")
        with pytest.raises(OSError, match="No space left"):
            stream.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())


def test_a_hangup_is_ignored_within() -> None:
    streams, before = (sys.stdout, sys.stderr), signal.getsignal(signal.SIGHUP)
    with outlive_terminal():
        signal.raise_signal(signal.SIGHUP)
    assert (sys.stdout, sys.stderr) == streams
    assert signal.getsignal(signal.SIGHUP) == before


def test_a_reader_that_goes_is_no_stack_trace() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "u2pl_ray", "settings", "--markdown"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.stderr == ""


@pytest.mark.ray
@pytest.mark.slow
def test_a_search_goes_on_when_its_terminal_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{TESTS / 'search'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("U2PL_RAY_STORAGE", str(tmp_path))
    monkeypatch.setenv("RAY_NUM_CPUS", "1")
    monkeypatch.setenv("FAKE_EPOCH_SECONDS", "1")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    driver, terminal = pty.fork()
    if driver == 0:
        os.execv(sys.executable, [sys.executable, "-W", "ignore", "-c", DRIVER])
    said = b""
    while b"epoch 2/" not in said:
        said += os.read(terminal, 10_000)
    os.close(terminal)  # the kernel sends SIGHUP to all that runs in it; writing to it fails
    until = time.monotonic() + 120
    while (ended := os.waitpid(driver, os.WNOHANG))[0] == 0 and time.monotonic() < until:
        time.sleep(0.2)
    assert ended[0] == driver, "it did not end"
    assert os.waitstatus_to_exitcode(ended[1]) == 0
    records = Experiment.open(str(tmp_path / "away")).study().records()
    assert [record.epochs for record in records] == [8, 8]
    assert (tmp_path / "away" / "report.html").exists()
