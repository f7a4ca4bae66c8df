"""An offline search, uploaded afterwards."""

from pathlib import Path
from typing import Any

import pytest

from tests.tracking.search import SPACE, files, sink_of, tell
from tests.tracking.stub import WandbStub
from tests.tracking.test_kill import run_and_kill
from u2pl_ray.config.errors import UserError
from u2pl_ray.tracking.sync import SyncReport, pending, sync


def upload(experiment: Path, **options: Any) -> SyncReport:
    return sync(experiment, "stub-project", None, "my-search", SPACE, **options)


def test_an_offline_search_arrives_as_an_online_one(experiment: Path, stub: WandbStub) -> None:
    for epochs in (range(1, 4), range(1, 6)):  # resumed once: two files a run
        sink = sink_of(experiment)
        tell(sink, trials=3, epochs=epochs)
        sink.finish("0000", "COMPLETED")
        sink.close()
    assert [(run.name, run.last_step) for run in pending(experiment)] == [(f"000{trial}", 5) for trial in range(3)]
    seen: list[tuple[int, int]] = []
    report = upload(experiment, progress=lambda *counts: seen.append(counts))
    assert (report.runs, report.uploaded, report.running, report.notes) == (3, 3, 0, ())
    assert seen[-1] == (3, 3)
    [sweep] = stub.sweeps
    for run in stub.runs.values():
        assert (run.sent, run.sweep, run.group) == ([1, 2, 3, 4, 5], sweep, "my-search")
        assert run.rows[0]["diag/entropy/hist"]["values"] == [1, 2, 1, 0]
        assert all(row["val/confusion"]["path"] in run.files for row in run.rows)
    for runs in files(experiment).values():
        assert all(run.path.with_name(run.path.name + ".synced").exists() for run in runs)

    assert pending(experiment) == []

    report = upload(experiment)  # again: nothing changes
    assert (report.runs, report.uploaded) == (3, 3)
    assert len(stub.sweeps) == 1
    assert all(run.sent == [1, 2, 3, 4, 5] for run in stub.runs.values())


def test_a_killed_search_is_uploaded_with_what_survived(experiment: Path, stub: WandbStub) -> None:
    run_and_kill(experiment, 2.0)
    [killed] = files(experiment)["0000"]
    report = upload(experiment, running=True)
    assert (report.runs, report.uploaded, report.running) == (0, 0, 1)
    report = upload(experiment)
    assert (report.runs, report.uploaded, report.running) == (1, 1, 0)
    [run] = stub.runs.values()
    assert run.sent == [row["_step"] for row in killed.rows]
    assert run.state == "preempted"


def test_a_server_that_does_not_answer_is_reported(experiment: Path, stub: WandbStub) -> None:
    sink = sink_of(experiment)
    tell(sink, trials=1, epochs=[1])
    sink.close()
    stub.fault = "error"
    report = upload(experiment, timeout=3.0)
    assert (report.runs, report.uploaded) == (1, 0)
    assert report.notes
    [[run]] = files(experiment).values()
    assert not run.path.with_name(run.path.name + ".synced").exists()


def test_an_upload_that_broke_off_is_completed(experiment: Path, stub: WandbStub) -> None:
    sink = sink_of(experiment)
    tell(sink, trials=2, epochs=[1, 2, 3])
    sink.close()
    upload(experiment)
    for run in stub.runs.values():  # as if the server had got less
        del run.lines[2]
    report = upload(experiment)
    assert report.uploaded == 2
    assert all(run.sent == [1, 2, 3, 3] for run in stub.runs.values())
    assert all([row["_step"] for row in run.rows] == [1, 2, 3] for run in stub.runs.values())


def test_without_runs_or_key_it_says_so(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no runs"):
        upload(experiment)
    sink = sink_of(experiment)
    tell(sink, trials=1, epochs=[1])
    sink.close()
    with pytest.raises(UserError, match="wandb login"):
        upload(experiment)
