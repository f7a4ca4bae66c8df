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


Network = Callable[..., Outputs]
"""Takes images, and how many of the last ones get their features perturbed (see `Segmentor.forward`), if any do."""


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
    past_warmup: float = 1.0
    """Share of the steps after the warm-up that are done, in [0, 1]."""


@dataclass(frozen=True)
class Losses:
    """0-dim float32 tensors whose MEAN over the workers is the loss of the global batch.

    Data-parallel training averages gradients, so this is what makes them those of the global batch. `total` carries
    the gradient: supervised + method.unsupervised_weight * ramp-up * unsupervised + method.contrastive.weight *
    contrastive, with the ramp-up of method.unsupervised_rampup.
    The three parts are detached; a part that the step did not compute is 0.
    """

    total: Tensor
    supervised: Tensor
    unsupervised: Tensor
    contrastive: Tensor


@dataclass
class Stats:
    """Diagnostics of a step: detached tensors on the device, to be added up and read once per epoch.

    A supervised step has none. Others have, per step:

    | name | kind | shape, dtype | meaning |
    |---|---|---|---|
    | `pixels` | local | [C,2,3,32] int64 | unlabeled pixels by class, reliability, truth, entropy: see `statistics` |
    | `entropy` | local | [] float64 | sum of the entropies of these pixels, in nats |
    | `steps` | shared | [] float32 | 1: what the sums of shared values are to be divided by |
    | `alpha` | shared | [] float32 | alpha_t |
    | `gamma` | shared | [] float32 | gamma_t, in nats; the mean over the classes with pixels, where each has its own |

    with method.reliability.per_class, each [C] float32:

    | name | kind | meaning |
    |---|---|---|
    | `class/gamma` | shared | gamma_t of the class, in nats; 0 where it has no pixels |
    | `class/steps` | shared | 1 where it has pixels: what the sums of `class/gamma` are to be divided by |

    and, with a contrastive loss, each [C] float32:

    | name | kind | meaning |
    |---|---|---|
    | `bank/fill` | shared | keys in the queue after the push |
    | `bank/pushed` | shared | keys pushed |
    | `bank/key_age` | shared | mean age of the queue's keys, in steps |
    | `anchor/none` | shared | 1 where the class had no anchor |
    | `negative/none` | shared | 1 where its queue was empty |
    | `negatives/known` | local | keys pushed whose true label is known |
    | `negatives/false` | local | keys of class c among them whose true label is c |
    """

    local: dict[str, Tensor] = field(default_factory=dict)
    """Sums over this worker's pixels: add over steps and workers."""
    shared: dict[str, Tensor] = field(default_factory=dict)
    """The same on every worker: add over steps only."""
