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
from u2pl_ray.method.contrastive import ContrastiveLoss, Maps
from u2pl_ray.method.losses import cross_entropy, ohem_cross_entropy, pseudo_label_loss
from u2pl_ray.method.maps import downsample, per_pixel
from u2pl_ray.method.mixing import mix
from u2pl_ray.method.reliability import gamma, ignore, most_likely, partition, upsampled_entropy
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
        """L_s, of `total` labeled pixels over all workers."""
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

    contrasts = False
    """Whether there is a contrastive loss, and so the teacher has to see the labeled images too."""

    def __call__(self, student: Network, teacher: Network, batch: Batch, clock: Clock) -> tuple[Losses, Stats]:
        """One step; supervised while warming up."""
        if clock.warming_up:
            return super().__call__(student, teacher, batch, clock)
        config, size, n_labeled = self.config, batch.labels.shape[-2:], len(batch.labels)
        alpha = alpha_at(config.alpha, clock.epoch, clock.epochs)

        with torch.no_grad():
            # The teacher's pseudo-labels on the weak view are mixed together with their images.
            images, pseudo_labels, truth = self.mixed_pseudo_labels(teacher, batch, clock.step)
            # What it makes of the mixed images says which pixels to trust; labeled images give anchors and keys.
            seen = torch.cat([batch.labeled_images, images]) if self.contrasts else images
            predicted = teacher(seen)
            entropies = upsampled_entropy(predicted.logits[-len(images) :], size)
            entropies.masked_fill_(pseudo_labels == IGNORE, torch.nan)
            # First collective: gamma is a quantile over the global batch.
            maps = self.local_maps(predicted, batch.labels, pseudo_labels)
            total, all_entropies, *all_maps = self.collectives.gather(_labeled_pixels(batch), entropies, *maps)
            gamma_t = gamma(all_entropies, alpha)
            reliable, _ = partition(entropies, gamma_t, alpha)
            everywhere = partition(all_entropies, gamma_t, alpha)
            targets = ignore(pseudo_labels, ~reliable)

        outputs = student(torch.cat([batch.labeled_images, images]))
        supervised = self.supervised_loss(outputs.logits[:n_labeled], batch.labels, total.sum())
        n_reliable = everywhere[0].sum()
        unsupervised = pseudo_label_loss(outputs.logits[n_labeled:], targets, n_reliable, self.collectives.world_size)
        contrastive, stats = self.contrast(outputs, predicted, all_maps, everywhere, batch.labels, truth, clock)

        loss = supervised + config.unsupervised_weight * unsupervised + config.contrastive.weight * contrastive
        losses = Losses(loss, supervised.detach(), unsupervised.detach(), contrastive.detach())

        stats.local["pixels"] = pixel_counts(pseudo_labels, reliable, truth, entropies, self.num_classes)
        stats.local["entropy"] = entropies.nansum(dtype=torch.float64)
        stats.shared["steps"] = torch.ones_like(gamma_t)
        stats.shared["alpha"] = torch.full_like(gamma_t, alpha)
        stats.shared["gamma"] = gamma_t
        return losses, stats

    def mixed_pseudo_labels(self, teacher: Network, batch: Batch, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Mixed unlabeled images, their pseudo-labels [Bu,h,w] uint8, and the truth mixed alike."""
        weak = teacher(batch.unlabeled_images)
        pseudo_labels = per_pixel(most_likely, weak.logits, batch.labels.shape[-2:])
        if batch.unlabeled_valid is not None:
            pseudo_labels = ignore(pseudo_labels, ~batch.unlabeled_valid)
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

    def local_maps(self, predicted: Outputs, labels: Tensor, pseudo_labels: Tensor) -> list[Tensor]:
        """What else every worker must know of this worker's images: nothing without a contrastive loss."""
        return []

    def contrast(
        self,
        outputs: Outputs,
        predicted: Outputs,
        maps: list[Tensor],
        partitioned: tuple[Tensor, Tensor],
        labels: Tensor,
        truth: Tensor,
        clock: Clock,
    ) -> tuple[Tensor, Stats]:
        """L_c: none."""
        return torch.zeros((), device=labels.device), Stats()


class U2PL(PseudoLabel):
    """L_s + lambda_u L_u + lambda_c L_c: unreliable pixels too, as negatives of the classes they rank last."""

    contrasts = True

    def __init__(
        self,
        config: MethodConfig,
        num_classes: int,
        representation_dim: int,
        seed: int,
        collectives: Collectives,
        device: torch.device,
    ) -> None:
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

    def local_maps(self, predicted: Outputs, labels: Tensor, pseudo_labels: Tensor) -> list[Tensor]:
        """The small maps that choose anchors and keys: all the labeled images', then all the unlabeled ones'."""
        prob = predicted.logits.float().softmax(1)
        maps = self.contrastive.local_maps(prob, _small((labels, pseudo_labels), prob), len(labels))
        return [map_[: len(labels)] for map_ in maps] + [map_[len(labels) :] for map_ in maps]

    def contrast(
        self,
        outputs: Outputs,
        predicted: Outputs,
        maps: list[Tensor],
        partitioned: tuple[Tensor, Tensor],
        labels: Tensor,
        truth: Tensor,
        clock: Clock,
    ) -> tuple[Tensor, Stats]:
        """L_c from both representations and the gathered maps; the second collective."""
        student, teacher = outputs.representation, predicted.representation
        assert student is not None
        assert teacher is not None
        halves = maps[: len(maps) // 2], maps[len(maps) // 2 :]
        everywhere = Maps(*(torch.cat(pair) for pair in zip(*halves, strict=True)))
        valid = halves[0][Maps._fields.index("label")] != IGNORE  # of the labeled images
        reliable, unreliable = (torch.cat([valid, downsample(map_, teacher.shape[-2:])]) for map_ in partitioned)
        true_labels = _small((labels, truth), teacher)
        return self.contrastive(student, teacher, len(labels), everywhere, reliable, unreliable, clock, true_labels)

    def state_dict(self) -> dict[str, Any]:
        """The memory bank."""
        return {"memory_bank": self.contrastive.bank.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the memory bank."""
        self.contrastive.bank.load_state_dict(state["memory_bank"])


def _small(maps: tuple[Tensor, Tensor], like: Tensor) -> Tensor:
    """Labels of the labeled, then of the unlabeled images, as one small map [Bl + Bu, H, W] uint8."""
    return torch.cat([downsample(map_, like.shape[-2:]).to(torch.uint8) for map_ in maps])


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
