import os
from pathlib import Path
from typing import Any

import pytest
import torch

from u2pl_ray.config.overrides import load
from u2pl_ray.config.schema import Config
from u2pl_ray.data.registry import resolve

TINY = [
    "data.crop=32",
    "data.synthetic.size=64",
    "data.synthetic.labeled=8",
    "data.synthetic.unlabeled=12",
    "data.synthetic.val=5",
    "data.synthetic.test=3",
    "model.architecture=DeepLabV3Plus",
    "model.encoder=tu-resnet10t",
    "model.representation_dim=16",
    "train.epochs=3",
    "train.batch_size=4",
    "train.unlabeled_batch_size=8",
    "train.steps_per_epoch=2",
    "method.warmup_epochs=1",
    "optim.lr=0.02",
    "optim.head_multiplier=10",
    "method.unsupervised_weight=1",
    "data.scale=[0.5,2.0]",
    "model.normalization=batch",
    "method.contrastive.anchors=8",
    "method.contrastive.negatives=8",
    "method.memory_bank.capacity=64",
]


@pytest.fixture(scope="session", autouse=True)
def one_thread_and_a_cache_of_our_own(tmp_path_factory: pytest.TempPathFactory) -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    os.environ["U2PL_RAY_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    torch.set_num_threads(before)


def tiny(*overrides: str) -> Config:
    """A training of a few seconds on generated images."""
    return resolve(load("quickstart", [*TINY, "workers=1", *overrides]))


def without_timing(metrics: dict[str, Any]) -> dict[str, Any]:
    """What has to be reproducible of an epoch's metrics."""
    others = ("checkpoint_path", "image_data")
    return {name: value for name, value in metrics.items() if not name.startswith("perf/") and name not in others}


def folder_of(path: Path, epoch: int) -> Path:
    return path / f"epoch_{epoch:05d}"
