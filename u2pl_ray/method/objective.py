"""A training step of labeled images alone, and how the objective of a method is made.

What learns from unlabeled images too builds on it: see `pseudo_label`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from u2pl_ray.config.method import MethodConfig
from u2pl_ray.config.methods import load_objective
from u2pl_ray.config.schema import IGNORE
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.losses import cross_entropy, ohem_cross_entropy
from u2pl_ray.method.types import Batch, Clock, Losses, Network, Outputs, Stats

MeanStd = tuple[Sequence[float], Sequence[float]]
IMAGENET: MeanStd = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Supervised:
    """Labeled images alone: L_s. Also what the other methods do while warming up.

    Args:
        config: the method section of the configuration.
        num_classes: C.
        representation_dim: D, channels of the representation head.
        seed: the training's seed; draws depend on it and on the step.
        collectives: among the data-parallel workers.
        device: where the networks' outputs are.
        mean_std: of the images' normalisation; ImageNet's by default.
        auxiliary_weight: of the supervised loss of the network's auxiliary head, if it has one.
    """

    def __init__(
        self,
        config: MethodConfig,
        num_classes: int,
        representation_dim: int,
        seed: int,
        collectives: Collectives,
        device: torch.device,
        mean_std: MeanStd = IMAGENET,
        auxiliary_weight: float = 0.0,
    ) -> None:
        self.config, self.num_classes, self.seed, self.collectives = config, num_classes, seed, collectives
        self.device, self.mean_std, self.auxiliary_weight = device, mean_std, auxiliary_weight
        self.prepare(representation_dim)

    def prepare(self, representation_dim: int) -> None:
        """Build what a method has beside the supervised loss, with representations of this length."""

    def __call__(self, student: Network, teacher: Network, batch: Batch, clock: Clock) -> tuple[Losses, Stats]:
        """One step: forward passes and losses; the caller calls `losses.total.backward()`.

        Args:
            student: in train mode, called once. With mixed precision the networks enter autocast themselves.
            teacher: in eval mode, takes no gradient.
            batch: this worker's slice of the global batch.
            clock: epoch and step.
        """
        outputs = student(batch.labeled_images)
        (total,) = self.collectives.gather(labeled_pixels(batch))
        supervised = self.supervised_loss(outputs.logits, auxiliary_of(outputs), batch.labels, total.sum())
        zero = torch.zeros_like(supervised)
        return Losses(supervised, supervised.detach(), zero, zero), Stats()

    def supervised_loss(self, logits: Tensor, auxiliary: Tensor | None, labels: Tensor, total: Tensor) -> Tensor:
        """Compute L_s, of the auxiliary head too: L_s(logits) + auxiliary_weight * L_s(auxiliary).

        Args:
            logits: [Bl,C,H,W] of the labeled images.
            auxiliary: of the auxiliary head, [B,C,H',W'], the labeled images first; None if there is none.
            labels: [Bl,h,w].
            total: 0-dim, labeled pixels over all workers.
        """
        loss = self._labeled_loss(logits, labels, total)
        if auxiliary is None:
            return loss
        return loss + self.auxiliary_weight * self._labeled_loss(auxiliary[: len(labels)], labels, total)

    def _labeled_loss(self, logits: Tensor, labels: Tensor, total: Tensor) -> Tensor:
        if self.config.supervised_loss == "ohem":
            return ohem_cross_entropy(logits, labels, self.config.ohem, self.collectives)
        return cross_entropy(logits, labels, total, self.collectives.world_size)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold of the method: tensors and numbers."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`."""


Objective = Supervised


def build_objective(
    config: MethodConfig,
    num_classes: int,
    representation_dim: int,
    seed: int,
    collectives: Collectives,
    device: torch.device,
    mean_std: MeanStd = IMAGENET,
    auxiliary_weight: float = 0.0,
) -> Objective:
    """Build the objective that `method.name` names; the arguments are those of `Supervised`."""
    objective: Objective = load_objective(config.name)(
        config, num_classes, representation_dim, seed, collectives, device, mean_std, auxiliary_weight
    )
    return objective


def auxiliary_of(outputs: Outputs) -> Tensor | None:
    """Return the auxiliary head's logits; None from networks without that head, and in eval mode."""
    found: Tensor | None = getattr(outputs, "auxiliary", None)
    return found


def labeled_pixels(batch: Batch) -> Tensor:
    """Count this worker's labels that are not 255: [1] int64."""
    return (batch.labels != IGNORE).sum().view(1)
