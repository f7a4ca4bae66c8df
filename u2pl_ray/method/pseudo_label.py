"""A semi-supervised step: L = L_s + lambda_u L_u + lambda_c L_c (U2PL, section 3.1).

`pseudo_label` computes the first two terms, `u2pl` all of them; other methods override what they do differently.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from u2pl_ray.method.alpha import alpha_at
from u2pl_ray.method.balance import PriorShift, class_counts, label_and_prediction_counts
from u2pl_ray.method.contrastive import ContrastiveLoss
from u2pl_ray.method.contrastive_term import ContrastiveTerm
from u2pl_ray.method.losses import pseudo_label_loss
from u2pl_ray.method.maps import per_pixel
from u2pl_ray.method.objective import Supervised, auxiliary_of
from u2pl_ray.method.reliability import ignore, most_likely
from u2pl_ray.method.statistics import pixel_counts
from u2pl_ray.method.strong_view import StrongView
from u2pl_ray.method.trust import Division, Judged, Trust, divide, gather_judged
from u2pl_ray.method.types import Batch, Clock, Losses, Network, Outputs, Stats
from u2pl_ray.method.views import View, judge, mixed


class PseudoLabel(Supervised):
    """L_s + lambda_u L_u: the unlabeled images with the teacher's reliable pseudo-labels; with a contrastive term L_c.

    The arguments are those of `Supervised`. The class attributes are what a method is published with; settings that
    are not null take their place.
    """

    strong_view = False
    judged_on = "mixed"
    perturbs = False
    """Whether one of the views is the weak one with perturbed features, which needs a judgement of the weak view."""

    def prepare(self, representation_dim: int) -> None:
        """Build what the configuration asks for: strong view, balance, contrastive term; see `Supervised`."""
        config, num_classes, device = self.config, self.num_classes, self.device
        if config.reliability.judged_on is not None:
            self.judged_on = config.reliability.judged_on
        self.confidence, self.quantile = config.least_confidence, config.traits.quantile
        distorts = self.strong_view if config.strong_view.use is None else config.strong_view.use
        balance = config.balance
        self.by_class = config.reliability.per_class or balance.weight_power > 0 or balance.margin > 0
        self.distort = StrongView(config.strong_view, self.mean_std, self.seed, self.collectives) if distorts else None
        self.alignment = PriorShift(balance.alignment, num_classes, device) if balance.alignment else None
        self.margins = PriorShift(-balance.margin, num_classes, device) if balance.margin else None
        self.contrast: ContrastiveTerm | None = None
        if config.contrasts:
            parts = config.contrastive, config.memory_bank
            loss = ContrastiveLoss(*parts, num_classes, representation_dim, self.seed, self.collectives, device)
            self.contrast = ContrastiveTerm(loss)

    def __call__(self, student: Network, teacher: Network, batch: Batch, clock: Clock) -> tuple[Losses, Stats]:
        """Compute one step; a supervised one while warming up."""
        if clock.warming_up:
            return super().__call__(student, teacher, batch, clock)
        config, n_labeled, n_unlabeled = self.config, len(batch.labels), len(batch.unlabeled_images)
        alpha = alpha_at(config.alpha, clock.epoch, clock.epochs)
        with torch.no_grad():
            weak = teacher(batch.unlabeled_images)
            views = self.views(teacher, self.weak_view(weak, batch), batch, clock.step)
            first = views[0]
            maps, features = self._contrasted(teacher, first, batch)
            shares = self._share_counts(batch, weak)
            # First collective: thresholds and normalisers are of the global batch.
            total, all_shares, all_maps, judged = gather_judged(
                self.collectives, batch, shares, maps, views, self.by_class
            )
            trust = self.trust(judged, alpha)
            if all_shares:
                self._update_shares(all_shares[0].sum(0), trust)
            own = [
                trust.divide(Judged(view.entropies, view.pseudo_labels, view.confident, view.given))[0]
                for view in views
            ]

        outputs = student(*self._student_input(batch, views, clock.step))
        logits, *of_views = outputs.logits.split([n_labeled, *[n_unlabeled] * len(views)])
        supervised = self.supervised_loss(logits, auxiliary_of(outputs), batch.labels, total)
        if self.margins is not None:
            of_views = [self.margins(part) for part in of_views]
        terms = [
            view.weight * self.unsupervised_loss(part, ignore(view.pseudo_labels, ~reliable), everywhere, trust.weights)
            for view, part, reliable, everywhere in zip(views, of_views, own, trust.everywhere, strict=True)
        ]
        unsupervised = terms[0] if len(terms) == 1 else torch.stack(terms).sum()
        factor = config.unsupervised_weight * rampup(clock.past_warmup, config.unsupervised_rampup)
        loss = supervised + factor * unsupervised
        contrastive, stats = torch.zeros_like(supervised), Stats()
        if self.contrast is not None:
            assert outputs.representation is not None
            representation = outputs.representation[: n_labeled + n_unlabeled]
            contrastive, stats = self.contrast(
                representation, features[0], all_maps, trust.everywhere[0][:2], batch.labels, first.truth, clock
            )
            loss = loss + config.contrastive.weight * contrastive
        losses = Losses(loss, supervised.detach(), unsupervised.detach(), contrastive.detach())

        stats.local["pixels"] = pixel_counts(
            first.judged_labels, own[0], first.truth, first.entropies, self.num_classes
        )
        stats.local["entropy"] = first.entropies.nansum(dtype=torch.float64)
        stats.shared["gamma"] = trust.mean_threshold()
        if trust.per_class:
            stats.shared["class/gamma"], stats.shared["class/steps"] = trust.threshold, (trust.threshold > 0).float()
        stats.shared["steps"] = torch.ones_like(stats.shared["gamma"])
        stats.shared["alpha"] = torch.full_like(stats.shared["gamma"], alpha)
        return losses, stats

    def views(self, teacher: Network, weak: View, batch: Batch, step: int) -> list[View]:
        """Make the views that the student is trained on; the first one is what diagnostics and contrast look at.

        Args:
            teacher: judges mixed images, if that is what is judged.
            weak: the unlabeled images as they are, with the teacher's pseudo-labels.
            batch: this worker's, whose labeled images may be mixed in.
            step: what draws depend on.
        """
        return [self.mixed_view(teacher, weak, batch, step, "")]

    def mixed_view(self, teacher: Network, weak: View, batch: Batch, step: int, suffix: str) -> View:
        """Mix the weak view and judge it; `suffix` tells one view's draws from another's."""
        view = mixed(
            weak,
            self.config.mixing,
            (batch.labeled_images, batch.labels),
            seed=self.seed,
            step=step,
            stream=f"mixing{suffix}",
            collectives=self.collectives,
        )
        if self.judged_on == "mixed":
            if view.predicted is None:
                view.predicted = teacher(view.images)
            view.entropies, view.confident = judge(
                self._aligned(view.predicted.logits), view.judged_labels, self.confidence
            )
        return view

    def judged(self, logits: Tensor, size: Sequence[int], threshold: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
        """Compute the pseudo-labels of whole images as they are, and which of them would be reliable: [n,h,w] each.

        Args:
            logits: [n,C,H,W] of the teacher.
            size: (h, w).
            threshold: gamma of an epoch, 0-dim, or one of each class [C].
            alpha: of that epoch.
        """
        logits = self._aligned(logits)
        labels = per_pixel(most_likely, logits, size)
        entropies, confident = judge(logits, labels, self.confidence)
        return labels, divide(Judged(entropies, labels, confident), threshold, alpha, quantile=self.quantile).reliable

    def trust(self, judged: list[Judged], alpha: float) -> Trust:
        """Decide which pseudo-labels of the global batch are reliable."""
        config = self.config
        return Trust(
            judged,
            alpha,
            self.num_classes,
            quantile=self.quantile,
            per_class=config.reliability.per_class,
            weight_power=config.balance.weight_power,
            counted=self.margins is not None,
        )

    def unsupervised_loss(
        self, logits: Tensor, targets: Tensor, everywhere: Division, class_weights: Tensor | None
    ) -> Tensor:
        """Compute lambda_u L_u of a view; see `losses.pseudo_label_loss`."""
        reliable, possible = everywhere.reliable.sum(), everywhere.possible
        return pseudo_label_loss(logits, targets, reliable, possible, self.collectives.world_size, class_weights)

    def state_dict(self) -> dict[str, Any]:
        """Return the memory bank, the alignment and the margins, where there are any."""
        return {name: part.state_dict() for name, part in self._parts().items() if part is not None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the memory bank, the alignment and the margins."""
        for name, part in self._parts().items():
            if part is not None and name in state:  # a fork's parent may have had none
                part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        return {"memory_bank": self.contrast, "alignment": self.alignment, "margins": self.margins}

    def _share_counts(self, batch: Batch, weak: Outputs) -> list[Tensor]:
        """Count this worker's labels by class, [1,1,C]; for the alignment the teacher's predictions too, [1,2,C]."""
        if self.alignment is not None:
            return [label_and_prediction_counts(batch, weak.logits)]
        if self.margins is not None:
            return [class_counts(batch.labels, self.num_classes).view(1, 1, -1)]
        return []

    def _update_shares(self, counts: Tensor, trust: Trust) -> None:
        """Take in the sums of `_share_counts` over all workers, [1,C] or [2,C]."""
        if self.alignment is not None:
            self.alignment.update(counts)
        if self.margins is not None:
            assert trust.counts is not None
            self.margins.update(torch.stack([counts[0], trust.counts]))

    def _aligned(self, logits: Tensor) -> Tensor:
        return logits if self.alignment is None else self.alignment(logits)

    def weak_view(self, weak: Outputs, batch: Batch) -> View:
        """Take what the teacher says of the weak images as they are; all views are made from this one."""
        logits = self._aligned(weak.logits)
        pseudo_labels = per_pixel(most_likely, logits, batch.labels.shape[-2:])
        if batch.unlabeled_valid is not None:
            pseudo_labels = ignore(pseudo_labels, ~batch.unlabeled_valid)
        view = View(batch.unlabeled_images, pseudo_labels, batch.unlabeled_labels, predicted=weak)
        if self.judged_on == "weak" or self.perturbs:
            view.entropies, view.confident = judge(logits, pseudo_labels, self.confidence)
        return view

    def _contrasted(self, teacher: Network, view: View, batch: Batch) -> tuple[list[Tensor], list[Tensor]]:
        """Compute the contrastive term's maps to be gathered, and the teacher's representations [Bl + Bu,D,H,W]."""
        if self.contrast is None:
            return [], []
        # A forward pass of its own: convolutions over another number of images round otherwise, and the contrastive
        # term must not change which pixels are reliable.
        labeled = teacher(batch.labeled_images)
        unlabeled = view.predicted if view.predicted is not None else teacher(view.images)
        assert labeled.representation is not None
        assert unlabeled.representation is not None
        maps = self.contrast.local_maps(labeled, unlabeled, batch.labels, view.pseudo_labels)
        return maps, [torch.cat([labeled.representation, unlabeled.representation])]

    def _student_input(self, batch: Batch, views: list[View], step: int) -> tuple[Any, ...]:
        """Join labeled images and views, strong ones where the method has them; those to be perturbed come last."""
        images = [batch.labeled_images]
        for number, view in enumerate(views):
            if self.distort is not None and not view.perturbed:
                images.append(self.distort(view.images, step, f"strong_view/{number}"))
            else:
                images.append(view.images)
        perturbed = sum(len(view.images) for view in views if view.perturbed)
        return (torch.cat(images), perturbed) if perturbed else (torch.cat(images),)


def rampup(done: float, share: float) -> float:
    """Compute exp(-5 (1 - x)^2) with x = done / share, 1 from x = 1 on (Laine & Aila, ICLR 2017).

    Args:
        done: part of the training after the warm-up that is done, in [0, 1].
        share: part of it in which the factor rises; 0: it is 1 at once.
    """
    x = 1.0 if done >= share else done / share
    return math.exp(-5.0 * (1.0 - x) ** 2)
