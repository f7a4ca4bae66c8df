"""Searches on a real local Ray with the real W&B client, seen from the server's side."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.tracking.conftest import own_wandb, stub  # noqa: F401  fixtures
from tests.tracking.search import files
from tests.tracking.stub import WandbStub
from tests.tracking.stub_backend import StubRun
from u2pl_ray.cli.running import run_experiment
from u2pl_ray.cli.wandb import sync
from u2pl_ray.config import overrides
from u2pl_ray.config.schema import Config
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.space.space import Space

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

FULL = "fake_training:build_full"


@pytest.fixture
def tracked(base: Config, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A configuration whose searches are in W&B if there is a key."""
    monkeypatch.setenv("FAKE_EPOCH_SECONDS", "0.3")
    settings = {
        "tracking.wandb": "auto",
        "tracking.project": "stub-project",
        "data.classes": ["background", "one", "two", "three"],
    }
    return overrides.apply(base, settings)


def search(config: Config, space: Space, folder: Path, trials: int = 3) -> Experiment:
    """A whole search as the command line runs it, one trial at a time."""
    made = plan_search(
        config, space, name="s", trials=trials, storage_path=folder, max_concurrent=1, trainer=FULL
    ).create()
    run_experiment(made)
    return made


def story(experiment: Experiment) -> list[Any]:
    return [(record.id, record.state, record.params, record.values) for record in experiment.study().records()]


def check_runs(experiment: Experiment, stub: WandbStub) -> None:  # noqa: F811
    """That the server has all of every trial."""
    runs = {run.display_name: run for run in stub.runs.values()}
    records = experiment.study().records()
    assert sorted(runs) == [record.id for record in records]
    [sweep] = stub.sweeps
    assert stub.sweeps[sweep]["name"] == "s"
    for record in records:
        run, epochs = runs[record.id], experiment.epochs(record.id)
        assert run.sent == [row["training_iteration"] for row in epochs]  # each once, in order
        assert (run.group, run.project, run.sweep, run.state) == ("s", "stub-project", sweep, "finished")
        assert run.tags == ["u2pl", "paper"] if record.id == "0000" else ["u2pl"]
        config = overrides.load(experiment.folder / "trials" / record.id / "config.yaml").model_dump(mode="json")
        arrived = {name: entry["value"] for name, entry in run.config.items() if name != "_wandb"}
        assert filled(arrived) == filled(config)
        assert run.summary["trial/state"] == record.state.value
        assert run.summary["best/val/miou"] == pytest.approx(max(record.values.values()))
        for told, row in zip(epochs, run.rows, strict=True):
            check_row(told, row, run)


def filled(tree: Any) -> Any:
    """A configuration without its empty mappings, which the client leaves out."""
    return {name: filled(value) for name, value in tree.items() if value != {}} if isinstance(tree, dict) else tree


def check_row(told: dict[str, Any], row: dict[str, Any], run: StubRun) -> None:
    for name, value in told.items():
        if isinstance(value, float | int):
            assert row[name] == pytest.approx(value), name
    for name in ("diag/entropy/hist", "diag/entropy/hist_right", "diag/entropy/hist_wrong"):
        assert row[name]["values"] == told[name]
        np.testing.assert_allclose(row[name]["bins"], np.linspace(0, np.log(2), 4))
    picture = Image.open(io.BytesIO(run.files[row["val/confusion"]["path"]]))
    assert picture.width == picture.height > 320  # with the names of the classes
    assert ("images" in told) == ("media/images/val" in row) == (told["training_iteration"] % 3 == 0)
    if "images" in told:
        kinds = {"val": {"truth", "prediction"}, "unlabeled": {"truth", "pseudo_label", "reliable"}}
        for split, expected in kinds.items():
            images = row[f"media/images/{split}"]
            assert run.files[images["filenames"][0]].startswith(b"\xff\xd8")  # a JPEG
            [maps] = images["all_masks"]
            assert maps.keys() == expected
            for mask in maps.values():
                labels = np.asarray(Image.open(io.BytesIO(run.files[mask["path"]])))
                assert (labels == told["training_iteration"] % 2).all()


def test_an_online_search_arrives_whole(tmp_path: Path, tracked: Config, space: Space, stub: WandbStub) -> None:  # noqa: F811
    made = search(tracked, space, tmp_path)
    check_runs(made, stub)
    images = sorted(path.name for path in (made.folder / "trials" / "0000" / "images").iterdir())
    assert images == ["epoch_00003", "epoch_00006", "epoch_00009"]


@pytest.mark.slow
def test_an_offline_search_arrives_by_sync(
    tmp_path: Path,
    tracked: Config,
    space: Space,
    stub: WandbStub,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as offline:
        offline.setenv("WANDB_MODE", "offline")
        made = search(tracked, space, tmp_path)
    assert not stub.operations
    capsys.readouterr()
    sync("s", str(tmp_path))
    assert capsys.readouterr().out.splitlines()[-1] == "3 of 3 runs uploaded"
    check_runs(made, stub)


def hang(stub: WandbStub) -> None:  # noqa: F811
    stub.fault = "hang"


def answer_500(stub: WandbStub) -> None:  # noqa: F811
    stub.fault = "error"


def die_in_the_middle(stub: WandbStub) -> None:  # noqa: F811
    def later() -> None:
        while not any(len(run.rows) > 2 for run in stub.runs.values()):
            time.sleep(0.1)
        stub.die()

    threading.Thread(target=later, daemon=True).start()


@pytest.mark.slow
@pytest.mark.parametrize("trouble", [die_in_the_middle, hang, answer_500])
def test_a_bad_server_changes_nothing(
    tmp_path: Path,
    tracked: Config,
    space: Space,
    stub: WandbStub,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    trouble: Callable[[WandbStub], None],
) -> None:
    """The same search as one without W&B, and over when the sink's patience is."""
    with monkeypatch.context() as disabled:
        disabled.setenv("WANDB_MODE", "disabled")
        begun = time.monotonic()
        alone = search(tracked, space, tmp_path / "alone")
        took = time.monotonic() - begun
    trouble(stub)
    begun = time.monotonic()
    made = search(tracked, space, tmp_path / "troubled")
    extra = time.monotonic() - begun - took
    stub.fault = ""
    assert story(made) == story(alone)
    assert extra < 20 + 15 + took  # waits for uploads at the end; starting the client; a busy machine
    for record in made.study().records():
        [run] = files(made.folder)[record.id]
        assert [row["training_iteration"] for row in run.rows] == list(record.values)


DRIVER = """
import sys
from pathlib import Path
from u2pl_ray.cli.running import run_experiment
from u2pl_ray.config import overrides
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.space.file import parse_space

folder = Path(sys.argv[1])
if (folder / "s").exists():
    experiment = Experiment.open("s", folder)
else:
    base, space = overrides.load(folder / "base.yaml"), parse_space((folder / "space.yaml").read_text(), "space.yaml")
    experiment = plan_search(
        base, space, name="s", trials=2, storage_path=folder, max_concurrent=1, scheduler="none",
        trainer="fake_training:build_full",
    ).create()
run_experiment(experiment)
"""
EPOCH_SECONDS = 0.25


@pytest.mark.slow
def test_killed_and_resumed_each_epoch_is_there_once(
    tmp_path: Path,
    tracked: Config,
    space: Space,
    stub: WandbStub,  # noqa: F811
) -> None:
    (tmp_path / "space.yaml").write_text(space.text)
    (tmp_path / "base.yaml").write_text(overrides.dump(overrides.apply(tracked, {"train.epochs": 16})))
    environment = {**os.environ, "FAKE_EPOCH_SECONDS": str(EPOCH_SECONDS), "WANDB_MODE": "offline"}
    command = [sys.executable, "-W", "ignore", "-c", DRIVER, str(tmp_path)]
    log = tmp_path / "s" / "trials" / "0001" / "epochs.jsonl"

    driver = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (log.exists() and log.read_bytes().count(b"\n") >= 12):
        assert driver.poll() is None
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    killed = Experiment.open("s", tmp_path)
    on_disk = files(killed.folder)
    for trial in ("0000", "0001"):
        [run], epochs = on_disk[trial], len(killed.epochs(trial))
        rows = [row["training_iteration"] for row in run.rows]
        assert rows == list(range(1, len(rows) + 1))
        assert len(rows) >= (16 if trial == "0000" else epochs - 2 / EPOCH_SECONDS)
        assert rows

    assert (
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    )
    sync("s", str(tmp_path))
    resumed = Experiment.open("s", tmp_path)
    assert [len(record.values) for record in resumed.study().records()] == [16] * 2
    check_runs(resumed, stub)
