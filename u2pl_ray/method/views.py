"""Views of the unlabeled images: what the student sees, what it learns there, and what the teacher makes of them."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from u2pl_ray.config.method import MixingConfig
from u2pl_ray.config.schema import IGNORE
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.maps import per_pixel
from u2pl_ray.method.mixing import mix
from u2pl_ray.method.reliability import confidence, upsampled_entropy
from u2pl_ray.method.types import Outputs


@dataclass
class View:
    """One view of this worker's unlabeled images."""

    images: Tensor
    """[B,3,h,w]."""
    pseudo_labels: Tensor
    """[B,h,w] uint8, 255 = none."""
    truth: Tensor
    """[B,h,w] true labels, for diagnostics; 255 = unknown."""
    entropies: Tensor = field(default_factory=lambda: torch.empty(0))
    """[B,h,w] float32, of the teacher's prediction, in nats; NaN where there is no pseudo-label of the teacher's; empty
    until judged."""
    confident: Tensor | None = None
    """[B,h,w] bool, whether the teacher's greatest probability reaches the threshold; None: nobody asks."""
    predicted: Outputs | None = None
    """What the teacher made of these very images, where it has seen them."""
    weight: float = 1.0
    """Of this view in the unsupervised term."""
    given: Tensor | None = None
    """[B,h,w] bool, pixels with the true label of a labeled image: reliable without being judged; None: none are."""
    perturbed: bool = False
    """The student sees the images as they are, and its encoder's features are perturbed."""

    @property
    def judged_labels(self) -> Tensor:
        """Return the pseudo-labels that are the teacher's: [B,h,w] uint8, 255 = none, or given."""
        return self.pseudo_labels if self.given is None else self.pseudo_labels.masked_fill(self.given, IGNORE)


def judge(logits: Tensor, pseudo_labels: Tensor, least: float) -> tuple[Tensor, Tensor | None]:
    """Compute `entropies` and `confident` of a view.

    Args:
        logits: [B,C,H,W] of the teacher.
        pseudo_labels: [B,h,w] uint8; where they are 255 nothing is judged.
        least: probability from which a pixel is confident; 0: nobody asks.
    """
    size = pseudo_labels.shape[-2:]
    entropies = upsampled_entropy(logits, size).masked_fill_(pseudo_labels == IGNORE, torch.nan)
    return entropies, per_pixel(confidence, logits, size) >= least if least else None


def mixed(
    view: View,
    config: MixingConfig,
    labeled: tuple[Tensor, Tensor],
    *,
    seed: int,
    step: int,
    stream: str,
    collectives: Collectives,
) -> View:
    """Mix a view's images, and every map along with its pixels.

    Args:
        view: of the weak images.
        config: how to mix.
        labeled: images and labels of the batch, see `mixing.mix`.
        seed: see `mixing.mix`.
        step: see `mixing.mix`.
        stream: see `mixing.mix`.
        collectives: see `mixing.mix`.
    """
    judged = [map_ for map_ in (view.entropies, view.confident) if map_ is not None and map_.numel()]
    given = [torch.zeros_like(view.pseudo_labels, dtype=torch.bool)] if config.labeled_partner > 0 else []
    images, pseudo_labels, (truth, *maps) = mix(
        config,
        view.images,
        view.pseudo_labels,
        (view.truth, *given, *judged),
        seed=seed,
        step=step,
        collectives=collectives,
        stream=stream,
        labeled=labeled,
    )
    seen = view.predicted if images is view.images else None
    result = View(images, pseudo_labels, truth, predicted=seen)
    if given:
        result.given = maps.pop(0) & (pseudo_labels != IGNORE)
    if judged:
        result.entropies = maps[0].masked_fill(result.judged_labels == IGNORE, torch.nan)
        result.confident = maps[1] if len(maps) > 1 else None
    return result
