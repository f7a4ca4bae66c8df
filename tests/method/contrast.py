"""Contrastive losses with given draws, and inputs for them."""

import dataclasses
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.method import golden
from u2pl_ray.config.method import ContrastiveConfig, MemoryBankConfig
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.contrastive import ContrastiveLoss
from u2pl_ray.method.types import Clock, Stats

CPU = torch.device("cpu")


class ScriptedLoss(ContrastiveLoss):
    """Anchors and negatives are the given ones."""

    anchors: Tensor
    negatives: Tensor

    def draw_anchors(self, counts: Tensor, step: int) -> Tensor:
        return self.anchors

    def draw_negatives(self, fill: Tensor, step: int) -> Tensor:
        return self.negatives


def golden_loss(case: golden.Golden, kind: type[ContrastiveLoss] = ScriptedLoss, device: torch.device = CPU) -> Any:
    """The loss of a golden case, with an empty bank."""
    config = case.config
    background, capacity = config["queue_sizes"][:2]
    return kind(
        ContrastiveConfig(
            temperature=config["temperature"],
            anchors=config["num_queries"],
            negatives=config["num_negatives"],
            low_rank=config["low_rank"],
            high_rank=config["high_rank"],
            anchor_threshold=config["current_class_threshold"],
        ),
        MemoryBankConfig(capacity=capacity, background_capacity=background, push_cap=None),
        config["num_classes"],
        config["dim"],
        0,
        Collectives(device),
        device,
    )


@dataclasses.dataclass
class Problem:
    """Inputs of a step with one labeled and one unlabeled image."""

    student: Tensor
    teacher: Tensor
    prob: Tensor
    label: Tensor
    reliable: Tensor
    unreliable: Tensor

    @classmethod
    def random(cls, seed: int, classes: int = 4, dim: int = 6, side: int = 6, images: int = 2) -> "Problem":
        draws = torch.Generator().manual_seed(seed)
        shape = (images, side, side)
        student, teacher = (torch.randn(images, dim, side, side, generator=draws) for _ in range(2))
        label = torch.randint(classes, shape, generator=draws)
        logits = torch.randn(images, classes, side, side, generator=draws) + 2 * F.one_hot(label, classes).movedim(3, 1)
        label[torch.rand(shape, generator=draws) < 0.1] = 255
        pick = torch.rand(shape, generator=draws)
        pick[: images // 2] = 0.5
        valid = label != 255
        reliable, unreliable = valid & (pick < 0.7), valid & (pick > 0.3)
        return cls(student.requires_grad_(), teacher, logits.softmax(1), label.to(torch.uint8), reliable, unreliable)

    def step(self, loss: ContrastiveLoss, step: int = 0, truth: Tensor | None = None) -> tuple[Tensor, Stats]:
        half = len(self.label) // 2
        maps = loss.local_maps(self.prob, self.label, half)
        return loss(self.student, self.teacher, half, maps, self.reliable, self.unreliable, Clock(0, 1, step), truth)


def make(config: dict[str, Any] | None = None, bank: dict[str, Any] | None = None, classes: int = 4) -> ScriptedLoss:
    contrastive_config = {"anchors": 3, "negatives": 4, "low_rank": 1, "high_rank": 3, "temperature": 0.3}
    bank_config = {"capacity": 7, "background_capacity": 9, "push_cap": None}
    return ScriptedLoss(
        ContrastiveConfig.model_validate(contrastive_config | (config or {})),
        MemoryBankConfig.model_validate(bank_config | (bank or {})),
        classes,
        6,
        0,
        Collectives(CPU),
        CPU,
    )


class ModuloLoss(ScriptedLoss):
    """Whatever numbers are given as draws, modulo the number of candidates."""

    def draw_anchors(self, counts: Tensor, step: int) -> Tensor:
        return self.anchors % counts.clamp_min(1).unsqueeze(1)

    def draw_negatives(self, fill: Tensor, step: int) -> Tensor:
        return self.negatives % fill.clamp_min(1).view(-1, 1, 1)


def make_own(bank: dict[str, Any]) -> ContrastiveLoss:
    """A loss that makes its own draws."""
    loss: ContrastiveLoss = make(bank={"background_capacity": None} | bank)
    loss.__class__ = ContrastiveLoss
    return loss
