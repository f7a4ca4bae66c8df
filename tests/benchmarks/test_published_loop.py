"""The published step, restated in `benchmarks.reference_objective`, against `train` of `train_semi.py` itself."""

import ast
import logging
import sys
import time
import types
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.evidence.published import PublishedWorker
from tests.benchmarks.test_published import CPU, PLAIN
from tests.train.conftest import tiny
from u2pl_ray.config.schema import Config
from u2pl_ray.data.loaders import TrainingBatch
from u2pl_ray.rng import derived_seed
from u2pl_ray.train.loop import Worker
from u2pl_ray.train.session import LocalSession

SETTINGS = (
    *("train.epochs=2", "train.steps_per_epoch=3", "optim.lr=0.005", "optim.head_multiplier=1"),
    *("method.teacher_momentum=0.6", "method.unsupervised_weight=0.6", "method.alpha.start=0.3"),
    *("method.contrastive.weight=0.7", "method.contrastive.low_rank=1", "method.contrastive.anchor_threshold=0.0"),
    *("model.normalization=group", "model.dropout=0.6"),  # much dropout, so that keys arrive
    # There the representation head decays in the warm-up, too, by a gradient of 0; here it has none.
    "optim.weight_decay=0",
)


class Wrapped:
    """A network as the published loop calls it."""

    def __init__(self, network: Any) -> None:
        self.network = network
        self.train, self.eval, self.parameters = network.train, network.eval, network.parameters

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        outputs = self.network(images)
        return {"pred": outputs.logits, "rep": outputs.representation}


class Loader:
    """Batches as the published loop takes them."""

    sampler = types.SimpleNamespace(set_epoch=lambda epoch: None)

    def __init__(self, batches: list[TrainingBatch], begin: Callable[[int], None] | None) -> None:
        self.batches, self.begin, self.index = batches, begin, -1

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        self.index += 1
        batch = self.batches[self.index]
        if self.begin is None:
            return batch.unlabeled_images, batch.unlabeled_labels.long()
        self.begin(self.index)
        return batch.labeled_images, batch.labels.long()

    next = __next__


def published_configuration(config: Config) -> dict[str, Any]:
    """Our settings in the published words."""
    method, classes = config.method, len(config.data.classes)
    contrastive = method.contrastive
    return {
        "dataset": {"n_sup": 0, "ignore_label": 255},
        "criterion": {"type": "CELoss", "kwargs": {"use_weight": False}},
        "net": {"num_classes": classes, "ema_decay": method.teacher_momentum},
        "trainer": {
            "epochs": config.train.epochs,
            "sup_only_epoch": method.warmup_epochs,
            "lr_scheduler": {"mode": "poly", "kwargs": {"power": config.optim.poly_power}},
            "unsupervised": {
                "drop_percent": 100 * (1 - method.alpha.start),
                "apply_aug": method.mixing.kind,
                "loss_weight": method.unsupervised_weight,
            },
            "contrastive": {
                "low_rank": contrastive.low_rank,
                "high_rank": contrastive.high_rank,
                "current_class_threshold": contrastive.anchor_threshold,
                "current_class_negative_threshold": 1,
                "low_entropy_threshold": 100 * method.alpha.start,
                "num_queries": contrastive.anchors,
                "num_negatives": contrastive.negatives,
                "temperature": contrastive.temperature,
                "loss_weight": contrastive.weight,
            },
        },
    }


def published_loop(reference: Path, losses: types.ModuleType, configuration: dict[str, Any]) -> Callable[..., None]:
    """Compile `train` of `train_semi.py` for one process; corners are not aligned, as in our networks."""
    tree = ast.parse((reference / "train_semi.py").read_text("utf-8"))
    (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "train")

    def interpolate(image: Tensor, size: Any, mode: str, align_corners: bool | None = None) -> Tensor:
        return F.interpolate(image, size, mode=mode, align_corners=None if align_corners is None else False)

    utils: Any = sys.modules["u2pl.utils.utils"]
    alone = types.SimpleNamespace(get_rank=lambda: 0, get_world_size=lambda: 1, all_reduce=lambda value: None)
    scope: dict[str, Any] = {"np": np, "torch": torch, "time": time, "dist": alone, "cfg": configuration}
    scope["F"] = types.SimpleNamespace(**{**vars(F), "interpolate": interpolate})
    scope["generate_unsup_data"] = import_module("u2pl.dataset.augmentation").generate_unsup_data
    scope |= {name: getattr(utils, name) for name in ("AverageMeter", "label_onehot")}
    for name in ("compute_contra_memobank_loss", "compute_unsupervised_loss"):
        scope[name] = getattr(losses, name)
    exec(compile(ast.Module([function], []), "train_semi.py", "exec"), scope)
    loop: Callable[..., None] = scope["train"]
    return loop


def train_as_published(reference: Path, losses: types.ModuleType, config: Config) -> tuple[nn.Module, nn.Module, list]:
    """Train by the published loop, on the weights, batches and draws of a `Worker`; student, teacher and queues."""
    worker = Worker(config, LocalSession(), CPU)
    student: Any = worker.student
    teacher: Any = worker.teacher.module
    configuration = published_configuration(config)
    loop = published_loop(reference, losses, configuration)
    schedule = import_module("u2pl.utils.lr_helper").get_scheduler(
        configuration["trainer"], worker.steps, worker.optimizer
    )
    queues = [[torch.zeros(0, config.model.representation_dim)] for _ in worker.classes]
    capacity = config.method.memory_bank.capacity
    bank = [torch.zeros(1, dtype=torch.long) for _ in queues], [capacity for _ in queues]
    board = types.SimpleNamespace(add_scalar=lambda *what: None)
    for epoch in range(config.train.epochs):
        batches = list(worker.train_data.epoch(epoch))

        def begin(index: int, first: int = epoch * worker.steps, like: TrainingBatch = batches[0]) -> None:
            step, images = first + index, (len(like.labeled_images), len(like.unlabeled_images))
            np.random.seed(derived_seed(config.seed, step, "mixing") % 2**32)
            torch.manual_seed(derived_seed(config.seed, step, "network/0"))
            teacher.draws.seed = derived_seed(config.seed, 0, "reference teacher")
            for network in (student, teacher):
                network.draws.start(step, *images)

        loop(
            *(Wrapped(student), Wrapped(teacher), worker.optimizer, schedule),
            losses.get_criterion(configuration),
            *(Loader(batches, begin), Loader(batches, None)),
            *(epoch, board, logging.getLogger("published"), queues, *bank),
        )
    return student, teacher, queues


@pytest.mark.parametrize(
    ("mixing", "warmup", "more"),
    [
        ("cutmix", 0, []),
        ("classmix", 0, []),
        # Rounding of the supervised loss, which is ours in a warm-up, grows with each step.
        ("cutmix", 1, ["train.steps_per_epoch=1", "train.epochs=3"]),
    ],
)
def test_the_restated_step_is_that_of_the_published_loop(
    mixing: str, warmup: int, more: list[str], reference: Path, losses: types.ModuleType
) -> None:
    config = tiny(*PLAIN, *SETTINGS, f"method.mixing.kind={mixing}", f"method.warmup_epochs={warmup}", *more)
    student, teacher, queues = train_as_published(reference, losses, config)
    reports: list[dict[str, Any]] = []
    worker = PublishedWorker(config, LocalSession(None, reports.append), CPU, losses, "published")
    worker.run()
    assert reports[-1]["train/loss/contrastive"] > 0.1
    own: Any = worker.objective
    assert sum(len(queue[0]) for queue in queues) > 20
    for mine, theirs in zip(own.queues, queues, strict=True):
        torch.testing.assert_close(mine[0], theirs[0], rtol=1e-4, atol=1e-4)
    for mine, theirs in ((worker.student, student), (worker.teacher.module, teacher)):
        for name, value in theirs.state_dict().items():
            torch.testing.assert_close(mine.state_dict()[name], value, rtol=1e-4, atol=1e-5)
    assert not torch.equal(teacher.state_dict()["classifier.weight"], student.state_dict()["classifier.weight"])
