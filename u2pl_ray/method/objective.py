"""A training step as the paper writes it: L = L_s + lambda_u L_u + lambda_c L_c (U2PL, section 3).

The three methods differ in how much of it they compute: `supervised` the first term, `pseudo_label` two, `u2pl` all.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from u2pl_ray.config.schema import IGNORE, MethodConfig
from u2pl_ray.method.alpha import alpha_at
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.losses import cross_entropy, ohem_cross_entropy, pseudo_label_loss
from u2pl_ray.method.maps import downsample, upsample
from u2pl_ray.method.mixing import mix
from u2pl_ray.method.reliability import entropy, gamma, partition
from u2pl_ray.method.statistics import pixel_counts
from u2pl_ray.method.types import Batch, Clock, Losses, Network, Outputs, Stats


class Supervised:
    """Labeled images alone: L_s. Also what the other methods do while warming up.

    Args:
        config: the method section of the configuration.
        num_classes: C.
        representation_dim: D, channels of the representation head.
        seed: the training's seed; draws depend on it and on the step.
        collectives: among the data-parallel workers.
        device: where the networks' outputs are.
    """

    def __init__(
        self,
        config: MethodConfig,
        num_classes: int,
        representation_dim: int,
        seed: int,
        collectives: Collectives,
        device: torch.device,
    ) -> None:
        self.config, self.num_classes, self.seed, self.collectives = config, num_classes, seed, collectives

    def __call__(self, student: Network, teacher: Network, batch: Batch, clock: Clock) -> tuple[Losses, Stats]:
        """One step: forward passes and losses; the caller calls `losses.total.backward()`.

        Args:
            student: in train mode, called once. With mixed precision the networks enter autocast themselves.
            teacher: in eval mode, takes no gradient.
            batch: this worker's slice of the global batch.
            clock: epoch and step.
        """
        outputs = student(batch.labeled_images)
        (total,) = self.collectives.gather(_labeled_pixels(batch))
        supervised = self.supervised_loss(outputs.logits, batch.labels, total.sum())
        zero = torch.zeros_like(supervised)
        return Losses(supervised, supervised.detach(), zero, zero), Stats()

    def supervised_loss(self, logits: Tensor, labels: Tensor, total: Tensor) -> Tensor:
        """L_s at the images' size, of `total` labeled pixels over all workers."""
        logits = upsample(logits, labels.shape[-2:])
        if self.config.supervised_loss == "ohem":
            return ohem_cross_entropy(logits, labels, self.config.ohem, self.collectives)
        return cross_entropy(logits, labels, total, self.collectives.world_size)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold of the method: tensors and numbers."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`."""


class PseudoLabel(Supervised):
    """L_s + lambda_u L_u: the unlabeled images with the teacher's reliable pseudo-labels."""

    def __call__(self, student: Network, teacher: Network, batch: Batch, clock: Clock) -> tuple[Losses, Stats]:
        """One step; supervised while warming up."""
        if clock.warming_up:
            return super().__call__(student, teacher, batch, clock)
        config, world_size, n_labeled = self.config, self.collectives.world_size, len(batch.labels)
        size = batch.labels.shape[-2:]
        alpha = alpha_at(config.alpha, clock.epoch, clock.epochs)

        with torch.no_grad():
            # The teacher's pseudo-labels on the weak view, mixed together with their images.
            images, pseudo_labels, truth = self.mixed_pseudo_labels(teacher, batch, clock.step)
            # Reliability is judged on the mixed images: entropy, its quantile over the global batch, the partition.
            predicted = self.predict(teacher, batch.labeled_images, images)
            entropies = entropy(upsample(predicted.logits[-len(images) :], size))
            entropies.masked_fill_(pseudo_labels == IGNORE, torch.nan)
            total, entropies_everywhere, *maps = self.collectives.gather(
                _labeled_pixels(batch), entropies, *self.maps(predicted, batch.labels, pseudo_labels, truth)
            )
            gamma_t = gamma(entropies_everywhere, alpha)
            reliable, _ = partition(entropies, gamma_t, alpha)
            reliable_everywhere, unreliable_everywhere = partition(entropies_everywhere, gamma_t, alpha)
            targets = pseudo_labels.masked_fill(~reliable, IGNORE)

        outputs = student(torch.cat([batch.labeled_images, images]))
        supervised = self.supervised_loss(outputs.logits[:n_labeled], batch.labels, total.sum())
        student_logits = upsample(outputs.logits[n_labeled:], size)
        unsupervised = pseudo_label_loss(student_logits, targets, reliable_everywhere.sum(), world_size)
        contrastive, stats = self.contrast(outputs, predicted, maps, reliable_everywhere, unreliable_everywhere, clock)

        stats.local["pixels"] = pixel_counts(pseudo_labels, reliable, truth, entropies, self.num_classes)
        stats.local["entropy"] = entropies.nansum(dtype=torch.float64)
        stats.shared["steps"] = torch.ones_like(gamma_t)
        stats.shared["alpha"] = torch.full_like(gamma_t, alpha)
        stats.shared["gamma"] = gamma_t
        total_loss = supervised + config.unsupervised_weight * unsupervised + config.contrastive.weight * contrastive
        losses = Losses(total_loss, supervised.detach(), unsupervised.detach(), contrastive.detach())
        return losses, stats

    def mixed_pseudo_labels(self, teacher: Network, batch: Batch, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Mixed unlabeled images, their pseudo-labels [Bu,h,w] uint8, and the truth mixed alike."""
        weak = teacher(batch.unlabeled_images)
        pseudo_labels = upsample(weak.logits, batch.labels.shape[-2:]).argmax(1).to(torch.uint8)
        if batch.unlabeled_valid is not None:
            pseudo_labels.masked_fill_(~batch.unlabeled_valid, IGNORE)
        images, pseudo_labels, (truth,) = mix(
            self.config.mixing,
            batch.unlabeled_images,
            pseudo_labels,
            (batch.unlabeled_labels,),
            seed=self.seed,
            step=step,
            collectives=self.collectives,
        )
        return images, pseudo_labels, truth

    def predict(self, teacher: Network, labeled: Tensor, unlabeled: Tensor) -> Outputs:
        """The teacher's outputs, of which the last are the mixed unlabeled images'."""
        return teacher(unlabeled)

    def maps(self, predicted: Outputs, labels: Tensor, pseudo_labels: Tensor, truth: Tensor) -> list[Tensor]:
        """What must be known of every worker's images besides their entropies, to be gathered."""
        return []

    def contrast(
        self,
        outputs: Outputs,
        predicted: Outputs,
        maps: list[Tensor],
        reliable: Tensor,
        unreliable: Tensor,
        clock: Clock,
    ) -> tuple[Tensor, Stats]:
        """L_c; this method has none."""
        return outputs.logits.new_zeros((), dtype=torch.float32), Stats()


class U2PL(PseudoLabel):
    """L_s + lambda_u L_u + lambda_c L_c: unreliable pixels too, as negatives of the classes they rank last."""

    def __init__(
        self,
        config: MethodConfig,
        num_classes: int,
        representation_dim: int,
        seed: int,
        collectives: Collectives,
        device: torch.device,
    ) -> None:
        from u2pl_ray.method.contrastive import ContrastiveLoss

        super().__init__(config, num_classes, representation_dim, seed, collectives, device)
        self.contrastive = ContrastiveLoss(
            config.contrastive,
            config.memory_bank,
            num_classes,
            representation_dim,
            seed,
            collectives,
            device,
        )

    def predict(self, teacher: Network, labeled: Tensor, unlabeled: Tensor) -> Outputs:
        """The teacher's outputs for the labeled images, then the mixed unlabeled ones."""
        return teacher(torch.cat([labeled, unlabeled]))

    def maps(self, predicted: Outputs, labels: Tensor, pseudo_labels: Tensor, truth: Tensor) -> list[Tensor]:
        """Small maps of this worker's images, the labeled ones' before the unlabeled ones'."""
        small = predicted.logits.shape[-2:]
        label_small = torch.cat([downsample(map_, small).to(torch.uint8) for map_ in (labels, pseudo_labels)])
        truth_small = torch.cat([label_small[: len(labels)], downsample(truth, small).to(torch.uint8)])
        prob = predicted.logits.float().softmax(1)
        maps = (label_small, truth_small, *self.contrastive.local_maps(prob, label_small, len(labels)))
        return [*(map_[: len(labels)] for map_ in maps), *(map_[len(labels) :] for map_ in maps)]

    def contrast(
        self,
        outputs: Outputs,
        predicted: Outputs,
        maps: list[Tensor],
        reliable: Tensor,
        unreliable: Tensor,
        clock: Clock,
    ) -> tuple[Tensor, Stats]:
        """L_c, from student and teacher representations and the gathered maps."""
        half = len(maps) // 2
        label_small, _truth_small, *compact = (torch.cat(pair) for pair in zip(maps[:half], maps[half:], strict=True))
        small = label_small.shape[-2:]
        valid = label_small[: len(maps[0])] != IGNORE  # of the labeled images
        return self.contrastive(
            outputs.representation,
            predicted.representation,
            tuple(compact),
            torch.cat([valid, downsample(reliable, small)]),
            torch.cat([valid, downsample(unreliable, small)]),
            clock,
        )

    def state_dict(self) -> dict[str, Any]:
        """The memory bank."""
        return {"memory_bank": self.contrastive.bank.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the memory bank."""
        self.contrastive.bank.load_state_dict(state["memory_bank"])


Objective = Supervised

METHODS: dict[str, Callable[..., Objective]] = {
    "supervised": Supervised,
    "pseudo_label": PseudoLabel,
    "u2pl": U2PL,
}


def build_objective(
    config: MethodConfig,
    num_classes: int,
    representation_dim: int,
    seed: int,
    collectives: Collectives,
    device: torch.device,
) -> Objective:
    """The objective that `method.name` names; the arguments are those of `Supervised`."""
    return METHODS[config.name](config, num_classes, representation_dim, seed, collectives, device)


def _labeled_pixels(batch: Batch) -> Tensor:
    """[1] int64: this worker's labels that are not 255."""
    return (batch.labels != IGNORE).sum().view(1)
