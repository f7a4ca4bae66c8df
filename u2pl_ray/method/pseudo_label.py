"""A semi-supervised step: L = L_s + lambda_u L_u + lambda_c L_c (U2PL, section 3.1).

`pseudo_label` computes the first two terms, `u2pl` all of them; other methods override what they do differently.
"""

from typing import Any

import torch
from torch import Tensor

from u2pl_ray.config.schema import IGNORE, MethodConfig
from u2pl_ray.method.alpha import alpha_at
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.contrastive import ContrastiveLoss
from u2pl_ray.method.contrastive_term import ContrastiveTerm
from u2pl_ray.method.losses import pseudo_label_loss
from u2pl_ray.method.maps import per_pixel
from u2pl_ray.method.mixing import mix
from u2pl_ray.method.objective import Supervised, labeled_pixels
from u2pl_ray.method.reliability import gamma, ignore, most_likely, partition, upsampled_entropy
from u2pl_ray.method.statistics import pixel_counts
from u2pl_ray.method.types import Batch, Clock, Losses, Network, Stats


class PseudoLabel(Supervised):
    """L_s + lambda_u L_u: the unlabeled images with the teacher's reliable pseudo-labels; with a contrastive term L_c.

    The arguments are those of `Supervised`.
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
        super().__init__(config, num_classes, representation_dim, seed, collectives, device)
        self.contrast: ContrastiveTerm | None = None
        if config.contrasts:
            parts = config.contrastive, config.memory_bank
            self.contrast = ContrastiveTerm(
                ContrastiveLoss(*parts, num_classes, representation_dim, seed, collectives, device)
            )

    def __call__(self, student: Network, teacher: Network, batch: Batch, clock: Clock) -> tuple[Losses, Stats]:
        """Compute one step; a supervised one while warming up."""
        if clock.warming_up:
            return super().__call__(student, teacher, batch, clock)
        config, n_labeled, world_size = self.config, len(batch.labels), self.collectives.world_size
        alpha = alpha_at(config.alpha, clock.epoch, clock.epochs)

        with torch.no_grad():
            # The teacher's pseudo-labels on the weak view are mixed together with their images.
            images, pseudo_labels, truth = self.mixed_pseudo_labels(teacher, batch, clock.step)
            # What it makes of the mixed images says which pixels to trust.
            predicted = teacher(images)
            entropies = upsampled_entropy(predicted.logits, batch.labels.shape[-2:])
            entropies.masked_fill_(pseudo_labels == IGNORE, torch.nan)
            maps: list[Tensor] = []
            if self.contrast is not None:
                # A forward pass of its own: convolutions over another number of images round otherwise, and the
                # contrastive term must not change which pixels are reliable.
                predicted_labeled = teacher(batch.labeled_images)
                maps = self.contrast.local_maps(predicted_labeled, predicted, batch.labels, pseudo_labels)
            # First collective: gamma is a quantile over the global batch.
            total, all_entropies, *all_maps = self.collectives.gather(labeled_pixels(batch), entropies, *maps)
            gamma_t = gamma(all_entropies, alpha)
            reliable, _ = partition(entropies, gamma_t, alpha)
            everywhere = partition(all_entropies, gamma_t, alpha)
            targets = ignore(pseudo_labels, ~reliable)
            n_possible, n_reliable = (~all_entropies.isnan()).sum(), everywhere[0].sum()

        outputs = student(torch.cat([batch.labeled_images, images]))
        supervised = self.supervised_loss(outputs.logits[:n_labeled], batch.labels, total.sum())
        unsupervised = pseudo_label_loss(outputs.logits[n_labeled:], targets, n_reliable, n_possible, world_size)
        loss = supervised + config.unsupervised_weight * unsupervised
        contrastive, stats = torch.zeros_like(supervised), Stats()
        if self.contrast is not None:
            assert outputs.representation is not None
            features = torch.cat([predicted_labeled.representation, predicted.representation])  # type: ignore[list-item]
            contrastive, stats = self.contrast(
                outputs.representation, features, all_maps, everywhere, batch.labels, truth, clock
            )
            loss = loss + config.contrastive.weight * contrastive
        losses = Losses(loss, supervised.detach(), unsupervised.detach(), contrastive.detach())

        stats.local["pixels"] = pixel_counts(pseudo_labels, reliable, truth, entropies, self.num_classes)
        stats.local["entropy"] = entropies.nansum(dtype=torch.float64)
        stats.shared["steps"] = torch.ones_like(gamma_t)
        stats.shared["alpha"] = torch.full_like(gamma_t, alpha)
        stats.shared["gamma"] = gamma_t
        return losses, stats

    def mixed_pseudo_labels(self, teacher: Network, batch: Batch, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Compute mixed unlabeled images, their pseudo-labels [Bu,h,w] uint8, and the truth mixed alike."""
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

    def state_dict(self) -> dict[str, Any]:
        """Return the memory bank, if there is one."""
        return {} if self.contrast is None else {"memory_bank": self.contrast.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the memory bank."""
        if self.contrast is not None:
            self.contrast.load_state_dict(state["memory_bank"])
