"""The sink with a server: what arrives there, and what a bad one can do (nothing)."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tracking.search import CONFIG, files, sink_of, steps, tell
from tests.tracking.stub import KEY, WandbStub
from tests.tracking.stub_backend import ENTITY
from tests.tracking.test_kill import DRIVER


def wait_for(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def by_trial(stub: WandbStub) -> dict[str, Any]:
    return {run.display_name: run for run in stub.runs.values()}


def test_rows_config_histograms_pictures_and_sweep_arrive(experiment: Path, stub: WandbStub) -> None:
    sink = sink_of(experiment, "auto")
    tell(sink, trials=3, epochs=[1, 2])
    wait_for(lambda: len(stub.runs) == 3)  # while the search runs
    assert {run.state for run in stub.runs.values()} == {"running"}
    for step in (3, 4):
        tell(sink, trials=3, epochs=[step])
    sink.finish("0000", "COMPLETED")
    sink.finish("0001", "FAILED")
    report = sink.close()

    assert (report.mode, report.rows, report.dropped, report.not_uploaded, report.notes) == (
        "online",
        12,
        0,
        0,
        (),
    )
    [sweep] = stub.sweeps
    assert stub.sweeps[sweep]["method"] == "custom"
    assert "early_terminate" not in stub.sweeps[sweep]
    alpha = stub.sweeps[sweep]["parameters"]["method"]["parameters"]["alpha"]["parameters"]
    assert alpha["start"] == {"distribution": "uniform", "min": 0.1, "max": 0.5}
    runs = by_trial(stub)
    assert {name: run.state for name, run in runs.items()} == {
        "0000": "finished",
        "0001": "failed",
        "0002": "preempted",
    }
    for run in runs.values():
        assert (run.group, run.project, run.tags, run.sweep) == (
            "my-search",
            "stub-project",
            ["a-tag"],
            sweep,
        )
        assert run.config["method"]["value"] == CONFIG["method"]
        assert run.sent == [1, 2, 3, 4]
        assert [row["val/miou"] for row in run.rows] == [0.1, 0.3, 0.2, 0.5]
        assert run.rows[2]["diag/entropy/hist"]["values"] == [3, 2, 1, 0]
        assert run.summary["best/val/miou"] == 0.5
        for row in run.rows:
            assert run.files[row["val/confusion"]["path"]].startswith(b"\x89PNG")
    assert not stub.hosts


def test_a_resumed_search_continues_its_runs_and_its_sweep(experiment: Path, stub: WandbStub) -> None:
    for epochs in (range(1, 4), range(1, 7)):
        sink = sink_of(experiment, "auto")
        tell(sink, trials=2, epochs=epochs)
        assert sink.close().not_uploaded == 0
    assert len(stub.sweeps) == 1
    assert len(stub.runs) == 2
    for run in stub.runs.values():
        assert run.sent == [1, 2, 3, 4, 5, 6]
        assert run.sweep in stub.sweeps


@pytest.mark.parametrize(
    "fault",
    [
        "hang",
        pytest.param("error", marks=pytest.mark.slow),
        pytest.param("rubbish", marks=pytest.mark.slow),
        pytest.param("empty", marks=pytest.mark.slow),
    ],
)
def test_a_bad_server_delays_nothing_and_gets_the_rest_later(experiment: Path, stub: WandbStub, fault: Any) -> None:
    stub.fault = fault
    begun = time.monotonic()
    sink = sink_of(experiment, "auto")
    tell(sink, trials=2, epochs=[1, 2, 3])
    assert time.monotonic() - begun < 1.0
    wait_for(lambda: [steps(run) for runs in files(experiment).values() for run in runs] == [[1, 2, 3]] * 2, 60)
    begun = time.monotonic()
    report = sink.close(timeout=2.0)
    assert time.monotonic() - begun < 7.0
    assert (report.rows, report.dropped, report.not_uploaded) == (6, 0, 2)
    assert all(steps(run) == [1, 2, 3] for [run] in files(experiment).values())

    stub.fault = ""
    sink = sink_of(experiment, "auto")
    tell(sink, trials=2, epochs=range(1, 5))
    assert sink.close().not_uploaded == 0
    assert all(run.sent == [1, 2, 3, 4] for run in stub.runs.values())


def test_a_server_that_dies_midway_and_comes_back(experiment: Path, stub: WandbStub) -> None:
    sink = sink_of(experiment, "auto")
    tell(sink, trials=2, epochs=[1, 2])
    wait_for(lambda: sum(len(run.rows) for run in stub.runs.values()) == 4)
    stub.fault = "error"
    tell(sink, trials=2, epochs=[3, 4])
    time.sleep(2.0)
    stub.fault = ""
    tell(sink, trials=2, epochs=[5])
    report = sink.close(timeout=60)
    assert (report.rows, report.dropped, report.not_uploaded) == (10, 0, 0)
    assert all(run.sent == [1, 2, 3, 4, 5] for run in stub.runs.values())


def uploaders() -> list[int]:
    """Uploading processes that this process started."""
    children = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "pid=,args="], capture_output=True, text=True)
    return [int(line.split()[0]) for line in children.stdout.splitlines() if "tracking.upload" in line]


@pytest.mark.slow
def test_an_uploader_that_dies_is_started_again(experiment: Path, stub: WandbStub) -> None:
    sink = sink_of(experiment, "auto")
    tell(sink, trials=2, epochs=[1, 2])
    wait_for(lambda: sum(len(run.rows) for run in stub.runs.values()) == 4)
    [process] = uploaders()
    os.kill(process, signal.SIGKILL)
    tell(sink, trials=2, epochs=[3, 4])
    wait_for(lambda: uploaders() not in ([], [process]))
    report = sink.close()
    assert (report.dropped, report.not_uploaded) == (0, 0)
    assert all(run.sent == [1, 2, 3, 4] for run in stub.runs.values())


@pytest.mark.slow
def test_the_uploader_ends_with_a_driver_that_is_killed(experiment: Path, stub: WandbStub) -> None:
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(experiment), "auto"], stdout=subprocess.DEVNULL)
    wait_for(lambda: any(run.rows for run in stub.runs.values()), 30)
    children = subprocess.run(["ps", "--ppid", str(driver.pid), "-o", "pid=,args="], capture_output=True, text=True)
    [uploader] = [int(line.split()[0]) for line in children.stdout.splitlines() if "tracking.upload" in line]
    driver.kill()
    driver.wait()
    wait_for(lambda: not Path(f"/proc/{uploader}/cmdline").exists() or not _arguments(uploader))
    [run] = stub.runs.values()
    assert run.state == "running"  # W&B itself calls it crashed after a while
    assert run.sent == list(range(1, len(run.sent) + 1))


def _arguments(pid: int) -> bytes:
    """Command line of a process; empty for one that ended."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_nothing_about_the_account_is_printed_or_stored(
    experiment: Path, stub: WandbStub, capfd: pytest.CaptureFixture[str]
) -> None:
    sink = sink_of(experiment, "auto")
    tell(sink, trials=1, epochs=[1])
    assert sink.close().not_uploaded == 0
    out, err = capfd.readouterr()
    stored = b"".join(path.read_bytes() for path in experiment.rglob("*") if path.is_file())
    for secret in (ENTITY, KEY, stub.url):
        assert secret not in out + err
        assert secret.encode() not in stored
