"""A search on data that is on S3 (a real server): a node copies it once, and the experiment names the source."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.data.voc_folder import Folder
from tests.search.s3 import s3_server
from u2pl_ray.config.overrides import validate
from u2pl_ray.data.registry import resolve
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.listeners.base import Listener
from u2pl_ray.search.space.file import parse_space

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

TREE: dict[str, dict[str, Any]] = {
    "data": {"crop": 32, "test": None},
    "model": {"encoder": "tu-resnet10t", "representation_dim": 8},
    "method": {"warmup_epochs": 0, "contrastive": {"low_rank": 1, "high_rank": 3}},
    "train": {"epochs": 1, "steps_per_epoch": 1, "batch_size": 2, "unlabeled_batch_size": 2},
    "tracking": {"wandb": "disabled", "images": 0},
}


class Heard(Listener):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def uri(tmp_path: Path) -> Iterator[str]:
    from pyarrow import fs

    folder = Folder.new(tmp_path / "set")
    for file, letters in {"labeled.txt": "ll", "unlabeled.txt": "uu", "ImageSets/Segmentation/val.txt": "v"}.items():
        folder.split(file, [f"{letter}{index}" for index, letter in enumerate(letters)])
        for index, letter in enumerate(letters):
            folder.write(f"{letter}{index}", 40, 48, seed=100 * ord(letter) + index)
    with s3_server("bucket") as bucket:
        fs.copy_files(str(folder.root), "bucket/set", destination_filesystem=fs.FileSystem.from_uri(bucket)[0])
        yield f"{bucket}/set"


def test_trials_share_a_nodes_copy(uri: str, tmp_path: Path, no_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("U2PL_RAY_DATA_CACHE", str(tmp_path / "drivers"))
    monkeypatch.setenv("RAY_NUM_CPUS", "2")
    config = resolve(validate(TREE | {"data": {**TREE["data"], "root": uri}}))
    # Ray's processes get this one: they find nothing that the driver copied, as on another node.
    monkeypatch.setenv("U2PL_RAY_DATA_CACHE", str(tmp_path / "nodes"))
    space = parse_space("parameters:\n  method.contrastive.temperature: {min: 0.1, max: 1.0}\n", "space.yaml")
    heard = Heard()
    plan = plan_search(config, space, name="a", trials=2, storage_path=tmp_path / "searches", baselines=[])
    try:
        summary = plan.create().run([heard])
    finally:
        import ray

        ray.shutdown()
    assert [trial.state.value for trial in summary.trials] == ["COMPLETED", "COMPLETED"], heard.lines
    (copy,) = (tmp_path / "nodes").glob("set-*/")
    assert (copy / "bucket/set/JPEGImages/u1.png").read_bytes() == (tmp_path / "set/JPEGImages/u1.png").read_bytes()
    (line,) = [line for line in heard.lines if "copying" in line]
    assert re.search(rf"^000[01] copying {uri} to {re.escape(str(copy))}: 14 files", line)
    for file in (tmp_path / "searches").rglob("config.yaml"):
        assert yaml.safe_load(file.read_text())["data"]["root"] == uri
        assert str(tmp_path / "nodes") not in file.read_text()
    assert os.environ["U2PL_RAY_DATA_CACHE"] == str(tmp_path / "nodes")
