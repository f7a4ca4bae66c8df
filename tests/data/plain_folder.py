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


def written(tmp_path: Path, *arguments: str) -> Config:
    """The resolved configuration that `init` writes, looked over by `data check`, and after two steps of training."""
    out = tmp_path / "out" / "mine.yaml"
    with pytest.raises(SystemExit) as ended:
        main(["init", *arguments, "--out", str(out)])
    assert ended.value.code == 0
    with pytest.raises(SystemExit) as ended:
        main(["data", "check", str(out)])
    assert ended.value.code == 0
    config = load(str(out), [])
    assert not [line for line in check(config).warnings if "data.test" not in line]
    train_two_steps(out)
    return config


def train_two_steps(out: Path) -> None:
    reports: list[dict[str, float]] = []
    Worker(load(str(out), TINY), LocalSession(on_report=reports.append), torch.device("cpu")).run()
    assert len(reports) == 2
    assert np.isfinite(reports[-1]["train/loss/supervised"])
    if load(str(out), []).method.name == "u2pl":
        assert np.isfinite(reports[-1]["train/loss/contrastive"])
