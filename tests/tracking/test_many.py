"""Many concurrent trials through one sink: no row is lost, and memory is bounded. Times: benchmarks/telemetry.py."""

import resource
from pathlib import Path
from typing import Any

import pytest

from tests.tracking.search import CONFIG, epoch, files, sink_of, steps
from u2pl_ray.tracking.sink import WandbSink
from u2pl_ray.tracking.writer import Writer

EPOCHS = 5
CLIENT_MIB = 300
"""What the client may take for 200 open runs."""


@pytest.mark.parametrize("trials", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_many_trials_at_once(experiment: Path, monkeypatch: pytest.MonkeyPatch, trials: int) -> None:
    pending: list[int] = []
    count = Writer.expect

    def watched(writer: Writer, rows: int, size: int) -> None:
        count(writer, rows, size)
        pending.append(writer.pending_bytes)

    monkeypatch.setattr(Writer, "expect", watched)
    metrics: dict[str, Any] = {f"val/iou/class_{number}": number / 100 for number in range(60)}
    metrics |= {"val/miou": 0.5, "diag/entropy/hist": list(range(32)), "diag/entropy/max": 3.0}
    sink = sink_of(experiment)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ids = [f"{number:04d}" for number in range(trials)]
    for trial in ids:
        sink.start(trial, trial, CONFIG)
    for step in range(1, EPOCHS + 1):
        for trial in ids:
            sink.log(trial, metrics, step)
    for trial in ids:
        sink.finish(trial, "COMPLETED")
    report = sink.close(timeout=120)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024

    assert (report.rows, report.dropped) == (trials * EPOCHS, 0), report
    runs = files(experiment)
    assert len(runs) == trials
    assert all(steps(run) == list(range(1, EPOCHS + 1)) for [run] in runs.values())
    assert 0 < max(pending) < 64 * 2**20
    assert pending[-1] == 0
    assert grown < CLIENT_MIB, f"{grown:.0f} MiB"


def test_what_waits_for_a_client_that_is_stuck_is_bounded(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Writer, "run", lambda writer: writer.done.set())  # takes nothing off the queue
    sink = WandbSink(experiment, "stub-project", None, "my-search", "offline", max_pending_bytes=100_000)
    for step in range(1, 1001):
        for trial in range(20):
            sink.log(f"{trial:04d}", epoch(1), step)
    assert sink._writer is not None
    assert 90_000 < sink._writer.pending_bytes <= 100_000
    report = sink.close()
    assert report.dropped == 20_000
