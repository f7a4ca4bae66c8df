"""What goes into a step of the method and what comes out of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor


class Outputs(Protocol):
    """What student and teacher return for images [B,3,h,w] float32, at the decoder's resolution H x W."""

    @property
    def logits(self) -> Tensor:
        """[B,C,H,W], any floating dtype."""

    @property
    def representation(self) -> Tensor | None:
        """[B,D,H,W], any floating dtype, not normalised; only the contrastive loss needs it."""


Network = Callable[[Tensor], Outputs]


@dataclass(frozen=True)
class Batch:
    """This worker's contiguous slice of the global batch.

    Attributes:
        labeled_images: [Bl,3,h,w] float32, normalised.
        labels: [Bl,h,w] uint8 or int64, 255 = ignore.
        unlabeled_images: [Bu,3,h,w] float32: the weak view.
        unlabeled_labels: [Bu,h,w] uint8 or int64, for diagnostics alone; 255 = unknown.
        unlabeled_valid: [Bu,h,w] bool, False where the crop is padding, which gets no pseudo-label; None: all valid.
    """

    labeled_images: Tensor
    labels: Tensor
    unlabeled_images: Tensor
    unlabeled_labels: Tensor
    unlabeled_valid: Tensor | None = None


@dataclass(frozen=True)
class Clock:
    """Where the training is: `epoch` (0-based) of `epochs`, global optimizer `step` (0-based)."""

    epoch: int
    epochs: int
    step: int
    warming_up: bool = False
    """In the supervised epochs before the teacher starts: labeled images alone."""


@dataclass(frozen=True)
class Losses:
    """0-dim float32 tensors whose MEAN over the workers is the loss of the global batch.

    Data-parallel training averages gradients, so this is what makes them those of the global batch. `total` carries
    the gradient: supervised + method.unsupervised_weight * unsupervised + method.contrastive.weight * contrastive.
    The three parts are detached; a part that the step did not compute is 0.
    """

    total: Tensor
    supervised: Tensor
    unsupervised: Tensor
    contrastive: Tensor


@dataclass
class Stats:
    """Diagnostics of a step: detached tensors on the device, to be added up and read once per epoch."""

    local: dict[str, Tensor] = field(default_factory=dict)
    """Sums over this worker's pixels: add over steps and workers."""
    shared: dict[str, Tensor] = field(default_factory=dict)
    """The same on every worker: add over steps only."""
