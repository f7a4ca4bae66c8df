"""A search that is killed without warning loses at most the last two seconds, and goes on without a double row."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.tracking.search import files, sink_of, steps

ROWS_PER_SECOND = 20
DRIVER = f"""
import sys, time
from pathlib import Path
from u2pl_ray.tracking.sink import WandbSink
sink = WandbSink(Path(sys.argv[1]), "stub-project", None, "my-search", sys.argv[2])
sink.start("0000", "0000", {{}})
for step in range(1, 100_000):
    sink.log("0000", {{"val/miou": step / 1000}}, step)
    print(step, flush=True)
    time.sleep(1 / {ROWS_PER_SECOND})
"""


def run_and_kill(experiment: Path, seconds: float, mode: str = "offline") -> int:
    """Run the driver for some seconds from its first file on, then kill it and all it started at once.

    Returns the last step it logged.
    """
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(experiment), mode], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    while not list(experiment.glob("wandb/*/*.wandb")):
        assert driver.poll() is None
        time.sleep(0.05)
    time.sleep(seconds)
    children = subprocess.run(["ps", "--ppid", str(driver.pid), "-o", "pid="], capture_output=True, text=True)
    driver.send_signal(signal.SIGSTOP)
    for pid in [*map(int, children.stdout.split()), driver.pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return int(driver.communicate()[0].split()[-1])


def test_two_seconds_are_lost_at_most_and_no_row_is_double(experiment: Path) -> None:
    last = run_and_kill(experiment, 3.5)
    [killed] = files(experiment)["0000"]
    assert killed.exit_code is None
    assert steps(killed) == list(range(1, len(killed.rows) + 1))
    assert len(killed.rows) >= last - 2 * ROWS_PER_SECOND
    assert len(killed.rows) > ROWS_PER_SECOND

    sink = sink_of(experiment)
    sink.start("0000", "0000", {})
    for step in range(1, last + 6):  # resumed: told again from the start
        sink.log("0000", {"val/miou": step / 1000}, step)
    sink.finish("0000", "COMPLETED")
    report = sink.close()
    assert report.repeated == len(killed.rows)
    _, continued = files(experiment)["0000"]
    assert steps(continued) == list(range(1, last + 6))
