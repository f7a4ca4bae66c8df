"""Small folders of images and masks as people have them, and a training on what `init` makes of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from u2pl_ray.cli import main
from u2pl_ray.config.overrides import load
from u2pl_ray.config.schema import Config
from u2pl_ray.data.check import check
from u2pl_ray.data.loaders import TrainingBatches
from u2pl_ray.data.voc import open_split
from u2pl_ray.train import checkpoint
from u2pl_ray.train.loop import Worker
from u2pl_ray.train.session import LocalSession

SIDE = 64
TINY = ["data.crop=32", "train.batch_size=2", "train.unlabeled_batch_size=2", "train.steps_per_epoch=1"]
TINY += ["train.epochs=2", "method.warmup_epochs=1", "tracking.images=0"]


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path)


def label(seed: int, classes: int) -> np.ndarray:
    """Blocks of all classes, uint8 [SIDE, SIDE]."""
    blocks = np.random.default_rng(seed).permutation(np.arange(64) % classes).reshape(8, 8)
    return np.kron(blocks, np.ones((SIDE // 8, SIDE // 8))).astype(np.uint8)


def mask(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def call(*arguments: object) -> None:
    """Run the command line in this process; it must end well."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert ended.value.code == 0, arguments


def written(tmp_path: Path, *arguments: str, used: bool = False, trains: bool = True) -> Config:
    """The configuration that `init` writes, after all that one does with it next; no file is edited.

    Args:
        tmp_path: for what is written.
        arguments: of `init`.
        used: evaluate the trained network, and predict with it.
        trains: if not, a batch is read, which takes a tenth of the time.
    """
    out = tmp_path / "out" / "mine.yaml"
    call("init", *arguments, "--out", out)
    call("data", "check", out)
    config = load(str(out), [])
    assert not [line for line in check(config).warnings if not line.startswith(("data.test", "val has "))]
    if not trains:
        read_one_batch(out)
        return config
    worker = train_two_steps(out)
    if used:
        use(tmp_path, worker)
    return config


def read_one_batch(out: Path) -> None:
    batch = next(TrainingBatches(load(str(out), [*TINY, "data.loader_workers=0"])).epoch(0))
    assert len(batch.labeled_images) == len(batch.unlabeled_images) == 2
    assert bool((batch.labels != 255).any())


def train_two_steps(out: Path) -> Worker:
    reports: list[dict[str, float]] = []
    worker = Worker(load(str(out), TINY), LocalSession(on_report=reports.append), torch.device("cpu"))
    worker.run()
    assert len(reports) == 2
    assert np.isfinite(reports[-1]["train/loss/supervised"])
    if load(str(out), []).method.name == "u2pl":
        assert np.isfinite(reports[-1]["train/loss/contrastive"])
    return worker


def use(tmp_path: Path, worker: Worker) -> None:
    """`evaluate` and `predict` with what was trained."""
    folder = tmp_path / "epoch_00002"
    folder.mkdir()
    checkpoint.save(folder, worker.state())
    data = worker.config.data
    call("evaluate", folder, "--split", "test" if data.test else "val", "--output", tmp_path / "results.json")
    first = open_split(data, "val")[0].image
    call("predict", folder, first, "--output", tmp_path / "overlays")
    assert len(list((tmp_path / "overlays").glob("*_overlay.png"))) == 1
