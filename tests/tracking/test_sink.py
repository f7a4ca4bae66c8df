"""The sink with the real client, offline."""

import logging
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tracking.search import CONFIG, epoch, files, image_files, sink_of, steps, tell
from u2pl_ray.tracking.client import Client
from u2pl_ray.tracking.reader import parse
from u2pl_ray.tracking.records import RecordReader


def test_a_run_per_trial_with_its_rows_config_and_group(experiment: Path) -> None:
    sink = sink_of(experiment)
    tell(sink, trials=3, epochs=range(1, 6))
    sink.finish("0000", "COMPLETED", {"trial/epochs": 5})
    sink.finish("0001", "FAILED", {"trial/reason": "nan"})
    sink.finish("0002", "STOPPED")
    report = sink.close()

    assert (report.mode, report.rows, report.dropped, report.repeated) == ("offline", 15, 0, 0)
    runs = {name: run for name, [run] in files(experiment).items()}
    assert set(runs) == {"0000", "0001", "0002"}
    assert len({run.run_id for run in runs.values()}) == 3
    for run in runs.values():
        assert (run.group, run.project, run.tags) == ("my-search", "stub-project", ("a-tag",))
        assert {name: value for name, value in run.config.items() if name != "_wandb"} == CONFIG
        assert steps(run) == [1, 2, 3, 4, 5]
        assert [row["training_iteration"] for row in run.rows] == [1, 2, 3, 4, 5]
        assert [row["val/miou"] for row in run.rows] == [0.1, 0.3, 0.2, 0.5, 0.4]
        assert run.summary["best/val/miou"] == 0.5
        assert run.summary["val/miou"] == 0.4
    assert [runs[name].exit_code for name in sorted(runs)] == [0, 1, 0]
    assert runs["0000"].summary["trial/epochs"] == 5
    assert runs["0001"].summary["trial/reason"] == "nan"
    assert runs["0002"].summary["trial/state"] == "STOPPED"


def test_counts_become_histograms_on_fixed_bins_and_matrices_pictures(experiment: Path) -> None:
    sink = sink_of(experiment)
    tell(sink, trials=1, epochs=[1, 2])
    sink.close()
    [run] = files(experiment)["0000"]
    for row in run.rows:
        histogram = row["diag/entropy/hist"]
        assert histogram["_type"] == "histogram"
        assert histogram["values"] == [row["_step"], 2, 1, 0]
        assert histogram["bins"] == pytest.approx([0, 0.4, 0.8, 1.2, 1.6])
        picture = run.path.parent / "files" / row["val/confusion"]["path"]
        assert picture.stat().st_size > 0


def test_the_best_value_follows_the_goal(experiment: Path) -> None:
    sink = sink_of(experiment, objective="loss", maximize=False)
    sink.start("0000", "0000", {})
    for step, loss in enumerate([3.0, float("nan"), 2.0, 5.0], start=1):
        sink.log("0000", {"loss": loss}, step)
    sink.close()
    [run] = files(experiment)["0000"]
    assert run.summary["best/loss"] == 2.0


def test_a_continued_run_has_every_step_once_in_its_newest_file(experiment: Path) -> None:
    sink = sink_of(experiment)
    tell(sink, trials=1, epochs=[1, 2, 3])
    sink.close()
    sink = sink_of(experiment)
    tell(sink, trials=1, epochs=range(1, 6))  # a search that resumes tells again what it knows
    sink.finish("0000", "COMPLETED")
    report = sink.close()

    assert (report.rows, report.repeated) == (2, 3)
    before, after = files(experiment)["0000"]
    assert before.run_id == after.run_id
    assert (steps(before), steps(after)) == ([1, 2, 3], [1, 2, 3, 4, 5])
    assert before.summary["trial/state"] == "INTERRUPTED"
    assert after.rows[0]["_timestamp"] == before.rows[0]["_timestamp"]
    assert after.rows[0]["diag/entropy/hist"] == before.rows[0]["diag/entropy/hist"]
    assert after.summary["best/val/miou"] == 0.5
    assert (after.path.parent / "files" / after.rows[0]["val/confusion"]["path"]).exists()


def test_a_trial_can_be_started_again_after_its_finish(experiment: Path) -> None:
    sink = sink_of(experiment)
    tell(sink, trials=1, epochs=[1, 2])
    sink.finish("0000", "FAILED")
    tell(sink, trials=1, epochs=[2, 3])
    sink.close()
    assert [steps(run) for run in files(experiment)["0000"]] == [[1, 2], [1, 2, 3]]


def test_experiments_of_one_name_do_not_share_runs(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        sink = sink_of(tmp_path / folder)
        tell(sink, trials=1, epochs=[1])
        sink.close()
    [one], [two] = files(tmp_path / "one")["0000"], files(tmp_path / "two")["0000"]
    assert one.run_id != two.run_id


def test_nothing_about_the_machine_is_written(experiment: Path) -> None:
    sink = sink_of(experiment)
    tell(sink, trials=1, epochs=[1])
    sink.close()
    [run] = files(experiment)["0000"]
    records = [parse(message) for message in RecordReader(run.path).new()]
    [head] = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert (head.host, head.HasField("git"), head.entity) == ("", False, "")
    kinds = {record.WhichOneof("record_type") for record in records}
    assert not kinds & {"output", "output_raw", "stats", "environment"}
    assert str(Path.home()).encode() not in run.path.read_bytes()


def test_disabled_writes_nothing(experiment: Path) -> None:
    sink = sink_of(experiment, "disabled")
    tell(sink, trials=1, epochs=[1])
    assert sink.close().mode == "disabled"
    assert not experiment.exists()


def test_calls_with_nonsense_never_raise(experiment: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = sink_of(experiment)
    sink.start("0000", "0000", {})
    sink.log("0000", {"x": object()}, 1)  # not plain data
    sink.log("none", {"x": 1}, 1)  # never started
    sink.log("0000", {"x": [["a"]]}, 1)  # no matrix of numbers
    sink.log("0000", {"x": 1}, 2)
    sink.finish("none", "COMPLETED")
    report = sink.close()
    assert (report.rows, report.dropped) == (1, 3)
    assert len(report.notes) == 3
    sink.log("0000", {"x": 1}, 3)
    assert sink.close().dropped == 3


def test_a_client_that_raises_costs_rows_only(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr("wandb.init", broken)
    sink = sink_of(experiment)
    tell(sink, trials=2, epochs=[1, 2])
    report = sink.close()
    assert report.dropped == 4
    assert "RuntimeError" in report.notes[0]


def test_a_client_that_hangs_holds_up_nobody(
    experiment: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()
    monkeypatch.setattr(Client, "open", lambda *_, **__: release.wait(30))
    sink = sink_of(experiment, max_pending_bytes=20_000)
    begun = time.perf_counter()
    tell(sink, trials=2, epochs=[1])
    for _ in range(200):
        sink.log("0000", epoch(1), 1)
    assert time.perf_counter() - begun < 1.0
    with caplog.at_level(logging.WARNING):
        report = sink.close(timeout=0.5)
    assert time.perf_counter() - begun < 3.0
    release.set()
    assert report.dropped == 202
    assert any("queue was full" in note for note in report.notes)
    assert "202 rows" in caplog.text


def test_overlays_survive_a_resume_with_their_maps(experiment: Path) -> None:
    image_files(experiment / "trials" / "0000" / "images" / "epoch_00001")
    for _ in range(2):
        sink = sink_of(experiment)
        sink.start("0000", "0000", {"data": {"classes": ["sky", "sea"]}})
        sink.log("0000", {"media/images": "trials/0000/images/epoch_00001"}, 1)
        assert sink.close().dropped == 0
    first, newest = files(experiment)["0000"]
    for run in (first, newest):
        images = run.rows[0]["media/images/val"]
        assert images["captions"] == ["a", "c"]
        assert [set(maps) for maps in images["all_masks"]] == [{"truth", "prediction"}, {"truth"}]
        for maps in images["all_masks"]:
            for mask in maps.values():
                assert (np.asarray(Image.open(run.path.parent / "files" / mask["path"])) == 1).all()
        labels = run.config["_wandb"]["mask/class_labels"]
        assert labels["media/images/val_wandb_delimeter_truth"]["value"] == {"0": "sky", "1": "sea"}


def test_pictures_of_a_trial_survive_its_resume(experiment: Path) -> None:
    (experiment / "trials").mkdir(parents=True)
    Image.new("RGB", (8, 6), (255, 0, 0)).save(experiment / "trials" / "prediction.png")
    for _ in range(2):
        sink = sink_of(experiment)
        sink.start("0000", "0000", {})
        sink.log("0000", {"media/images": ["trials/prediction.png"]}, 1)
        sink.close()
    _, newest = files(experiment)["0000"]
    pictures = newest.rows[0]["media/images"]
    assert pictures["captions"] == ["prediction"]
    assert (newest.path.parent / "files" / pictures["filenames"][0]).stat().st_size > 0
