from pathlib import Path

import pytest

from tests.train.conftest import TINY
from u2pl_ray.config.overrides import load
from u2pl_ray.data.registry import resolve
from u2pl_ray.train.checkpoint import FILE
from u2pl_ray.train.footprint import checkpoint_bytes


@pytest.mark.parametrize(
    ("method", "further"),
    [
        ("supervised", []),
        ("u2pl", []),
        ("supervised", ["optim.name=adamw"]),
        ("supervised", ["optim.name=adamw", "model.freeze_encoder=true"]),
        ("supervised", ["optim.momentum=0"]),
    ],
)
def test_it_is_the_size_of_a_real_checkpoint(tmp_path: Path, method: str, further: list[str]) -> None:
    import torch

    from u2pl_ray.train.loop import Worker
    from u2pl_ray.train.session import LocalSession

    short = ["train.epochs=2", "train.steps_per_epoch=1"]
    config = resolve(load("quickstart", [*TINY, f"method.name={method}", *short, *further]))
    Worker(config, LocalSession(tmp_path), torch.device("cpu")).run()
    real = (tmp_path / "epoch_00002" / FILE).stat().st_size
    assert 0.9 * real < checkpoint_bytes(config) < 1.1 * real
