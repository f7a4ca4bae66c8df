"""A training does not depend on how many workers share its global batch.

With GroupNorm: BatchNorm's statistics are those of a worker on CPU. With dropout, of every kind.
"""

import os
from typing import Any

import pytest
import torch
import torch.distributed as dist

from tests.method.workers import launch
from tests.train.conftest import tiny, without_timing
from u2pl_ray.config.schema import Config, ModelConfig
from u2pl_ray.train.loop import Worker
from u2pl_ray.train.session import LocalSession

SETTINGS = [
    "model.normalization=group",
    "model.dropout=0.2",
    "model.options.decoder_aspp_dropout=0.5",
    "optim.lr=0.01",
    "optim.head_multiplier=1",
    "train.epochs=2",
    "train.steps_per_epoch=2",
]
CLOSE: dict[str, Any] = {"rel": 2e-3, "abs": 1e-5}
"""After two epochs; a pixel whose entropy is at the threshold may fall to either side by rounding."""
ANCHORS: dict[str, Any] = {"rel": 1e-2}
"""For the contrastive loss: such a pixel changes which anchors are drawn, and one is a larger part of this mean."""


def train_on(world_size: int, *overrides: str, model: ModelConfig | None = None) -> list[dict[str, Any]]:
    """What each worker ends with: `metrics` of every epoch, `state` of the training."""
    config = tiny(*overrides, f"workers={world_size}")
    config = config.model_copy(update={"model": model or config.model})
    return launch(world_size, _train, config.model_dump_json(), os.environ["U2PL_RAY_CACHE"])


def _train(config: str, cache: str) -> dict[str, Any]:
    os.environ["U2PL_RAY_CACHE"] = cache
    reports: list[dict[str, Any]] = []
    session = LocalSession(None, reports.append, rank=dist.get_rank(), world_size=dist.get_world_size())
    worker = Worker(Config.model_validate_json(config), session, torch.device("cpu"))
    worker.run()
    return {"metrics": reports, "state": worker.state()}


def test_one_two_and_four_workers_train_alike() -> None:
    ends = {workers: train_on(workers, *SETTINGS) for workers in (1, 2, 4)}
    (alone,) = ends[1]
    for workers in (2, 4):
        for end in ends[workers]:
            for mine, theirs in zip(alone["metrics"], end["metrics"], strict=True):
                assert mine.keys() - {"image_data"} == theirs.keys() - {"image_data"}  # rank 0 draws them
                for name, value in mine.items():
                    if name.startswith("train/") or name in ("diag/gamma", "diag/alpha", "diag/entropy/mean"):
                        close = ANCHORS if name == "train/loss/contrastive" else CLOSE
                        assert theirs[name] == pytest.approx(value, **close), (workers, name)
                    if name.endswith("miou") or name.startswith("diag/reliable_fraction"):
                        assert theirs[name] == pytest.approx(value, abs=0.01), (workers, name)
            for name, weight in alone["state"]["student"].items():
                torch.testing.assert_close(end["state"]["student"][name], weight, rtol=1e-2, atol=3e-4)


def test_workers_hold_the_same_networks_and_bank_bit_for_bit() -> None:
    """With BatchNorm and dropout too: whatever differs between workers is averaged or gathered."""
    one, two = train_on(2, "train.epochs=2", "train.steps_per_epoch=2")
    for part in ("student", "teacher"):
        for name, value in one["state"][part].items():
            assert torch.equal(value, two["state"][part][name]), (part, name)
    bank, other = (end["state"]["objective"]["memory_bank"] for end in (one, two))
    for name, value in bank.items():
        assert torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name], name
    for mine, theirs in zip(one["metrics"], two["metrics"], strict=True):
        assert without_timing(mine) == without_timing(theirs)


def test_three_workers_with_accumulation_have_the_gradient_of_one_without() -> None:
    """All terms: OHEM's limit, lambda_u, anchors and negatives are of the global batch; dropout in every layer."""
    settings = [
        *SETTINGS,
        "model.auxiliary_weight=0.4",
        "method.supervised_loss=ohem",
        "method.ohem.min_kept=2000",
        "method.warmup_epochs=0",
        "train.epochs=1",
        "train.steps_per_epoch=1",
        "train.batch_size=6",
        "train.unlabeled_batch_size=12",
    ]
    (alone,) = train_on(1, *settings)
    for end in train_on(3, *settings, "train.micro_batch_size=2"):
        for term in ("supervised", "unsupervised", "contrastive"):
            name = f"train/loss/{term}"
            assert end["metrics"][0][name] == pytest.approx(alone["metrics"][0][name], rel=1e-5)
            assert alone["metrics"][0][name] > 0
        # After one step of SGD the momentum is the gradient, and the weight decay, which is the same.
        for number, state in alone["state"]["optimizer"]["state"].items():
            gradient, got = state["momentum_buffer"], end["state"]["optimizer"]["state"][number]["momentum_buffer"]
            assert (got - gradient).abs().max() <= 1e-4 * gradient.abs().max() + 1e-7


def test_workers_share_a_network_of_which_not_every_part_is_used() -> None:
    """PSPNet looks at three of its encoder's five stages; the others get no gradient, which workers must not await."""
    model = ModelConfig(architecture="PSPNet", encoder="resnet18", normalization="group", representation_dim=8)
    settings = ["method.name=supervised", "train.epochs=1"]
    (alone,) = train_on(1, *settings, model=model)
    for end in train_on(2, *settings, model=model):
        assert end["metrics"][0]["train/loss/total"] == pytest.approx(alone["metrics"][0]["train/loss/total"], **CLOSE)
        for name, weight in alone["state"]["student"].items():
            torch.testing.assert_close(end["state"]["student"][name], weight, rtol=1e-2, atol=3e-4)
        assert end["state"]["optimizer"]["state"].keys() == alone["state"]["optimizer"]["state"].keys()
