"""Which pseudo-labels of a global batch are reliable, which pixels are unreliable, and how much each class weighs."""

from typing import NamedTuple

import torch
from torch import Tensor

from u2pl_ray.method.balance import class_counts, class_weights
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.objective import labeled_pixels
from u2pl_ray.method.reliability import gamma, gamma_by_class, ignore, partition
from u2pl_ray.method.types import Batch
from u2pl_ray.method.views import View


class Judged(NamedTuple):
    """A view as far as trust is concerned, of one worker or of all of them. Maps are [n,h,w]."""

    entropies: Tensor
    """float32, NaN where there is no pseudo-label."""
    pseudo_labels: Tensor | None
    """uint8; None where no class is treated otherwise than another."""
    confident: Tensor | None
    """bool; None: no threshold of confidence."""
    given: Tensor | None = None
    """bool, pixels with a true label, which is trusted; they have no entropy. None: there are none."""


class Division(NamedTuple):
    """A view's pixels, divided. Maps are [n,h,w] bool."""

    reliable: Tensor
    unreliable: Tensor
    possible: Tensor
    """0-dim, number of pixels with a pseudo-label, or a given one."""


class Trust:
    """The thresholds of a step, and what they say of all workers' pixels.

    Args:
        judged: the step's views, of the global batch.
        alpha: alpha_t.
        num_classes: C.
        quantile: the entropy quantile says what is reliable; False: confidence alone, and of the others those above
            the quantile are unreliable.
        per_class: one quantile for each class.
        weight_power: see `BalanceConfig.weight_power`.
        counted: whether the reliable pixels are to be counted by class; they are with a weight_power, too.
    """

    def __init__(
        self,
        judged: list[Judged],
        alpha: float,
        num_classes: int,
        *,
        quantile: bool,
        per_class: bool,
        weight_power: float,
        counted: bool = False,
    ) -> None:
        self.alpha, self.num_classes, self.quantile, self.per_class = alpha, num_classes, quantile, per_class
        entropies = _join([view.entropies for view in judged])
        labels = [view.pseudo_labels for view in judged if view.pseudo_labels is not None]
        self.threshold = (
            gamma_by_class(entropies, _join(labels), alpha, num_classes) if per_class else gamma(entropies, alpha)
        )
        """gamma_t, 0-dim, or one of each class [C]."""
        self.everywhere = [self.divide(view) for view in judged]
        self.counts: Tensor | None = None
        """[C] int64, reliable pixels by pseudo-label."""
        if weight_power or counted:
            reliable = [ignore(names, ~part.reliable) for names, part in zip(labels, self.everywhere, strict=True)]
            self.counts = class_counts(_join(reliable), num_classes)
        self.weights = class_weights(self.counts, weight_power) if self.counts is not None and weight_power else None
        """[C], factors on the unsupervised loss by pseudo-label."""

    def mean_threshold(self) -> Tensor:
        """Return gamma_t, 0-dim; where each class has its own, the mean over those with pixels (0: none has)."""
        return self.threshold.sum() / (self.threshold > 0).sum().clamp_min(1) if self.per_class else self.threshold

    def divide(self, view: Judged) -> Division:
        """Divide a view's pixels, of this worker or of all, by the thresholds."""
        return divide(view, self.threshold, self.alpha, quantile=self.quantile)


def divide(view: Judged, threshold: Tensor, alpha: float, *, quantile: bool) -> Division:
    """Divide a view's pixels by the thresholds of a step, or of an epoch on average.

    Args:
        view: any of the global batch, or other images.
        threshold: gamma_t, 0-dim, or one of each class [C]; the view then needs its pseudo-labels.
        alpha: alpha_t.
        quantile: whether the entropy quantile says what is reliable, see `Trust`.
    """
    if threshold.ndim:
        assert view.pseudo_labels is not None
        threshold = threshold[view.pseudo_labels.long().clamp_max(len(threshold) - 1)]
    reliable, unreliable = partition(view.entropies, threshold, alpha)
    valid = ~view.entropies.isnan()
    if not quantile:
        reliable = valid
    if view.confident is not None:
        reliable = reliable & view.confident
    if view.given is not None:
        reliable, valid = reliable | view.given, valid | view.given
    return Division(reliable, unreliable & ~reliable, valid.sum())


def gather_judged(
    collectives: Collectives, batch: Batch, shares: list[Tensor], maps: list[Tensor], views: list[View], labels: bool
) -> tuple[Tensor, list[Tensor], list[Tensor], list[Judged]]:
    """Gather, in one collective, all that the workers must know of each other's pixels.

    Args:
        collectives: of the workers.
        batch: this worker's.
        shares: counts for the shares of classes, or nothing.
        maps: of the contrastive term, or nothing.
        views: this worker's.
        labels: send the pseudo-labels, too.

    Returns:
        The number of labeled pixels of the global batch (0-dim), `shares` and `maps` of all workers, and each view of
        the global batch.
    """
    sent = [[view.entropies, view.pseudo_labels if labels else None, view.confident, view.given] for view in views]
    flat = [part for view in sent for part in view if part is not None]
    total, *found = collectives.gather(labeled_pixels(batch), *shares, *maps, *flat)
    rest = iter(found[len(shares) + len(maps) :])
    judged = [Judged(*(None if part is None else next(rest) for part in view)) for view in sent]  # type: ignore[arg-type]
    return total.sum(), found[: len(shares)], found[len(shares) : len(shares) + len(maps)], judged


def _join(tensors: list[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)
