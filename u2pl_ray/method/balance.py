"""Against pseudo-labels that name only the frequent classes: distribution alignment, margins and class weights."""

from typing import Any

import torch
from torch import Tensor

from u2pl_ray.config.schema import IGNORE
from u2pl_ray.method.maps import downsample
from u2pl_ray.method.teacher_momentum import teacher_momentum
from u2pl_ray.method.types import Batch

_LIMIT = 0.99  # momentum of the running shares
_LEAST = 1e-3  # share of a class that counts as none: bounds the factor to a thousand


class PriorShift:
    """How the classes' shares among labeled pixels differ from those among others: a bias on logits.

    Both shares are running means of global batches. The bias is power * log(share among labels / share among others).

    - Of the teacher's predictions as the others, with power > 0, on the teacher's logits: distribution alignment
      (ReMixMatch: Berthelot et al., ICLR 2020).
    - Of the reliable pseudo-labels as the others, with power < 0, on the student's logits in the unsupervised loss:
      margins by class (DebiasPL: Wang et al., CVPR 2022; logit adjustment: Menon et al., ICLR 2021). Where a class is
      rarer among what is learned from unlabeled images than among the labels, that then says nothing against it.

    Args:
        power: 0 < |power| <= 1.
        num_classes: C.
        device: of the logits.
    """

    def __init__(self, power: float, num_classes: int, device: torch.device) -> None:
        self.power = power
        self.shares = torch.full((2, num_classes), 1.0 / num_classes, device=device)
        """Of the labels, and of the others."""
        self.updates = 0

    def __call__(self, logits: Tensor) -> Tensor:
        """Return [B,C,H,W] logits with the bias."""
        labels, others = (self.shares + _LEAST).log()
        return logits + (self.power * (labels - others)).view(1, -1, 1, 1).to(logits.dtype)

    def update(self, counts: Tensor) -> None:
        """Take in a step's counts over all workers, [2,C]; the first replaces what was there, zeros say nothing."""
        total = counts.sum(1, keepdim=True)
        shares = torch.where(total > 0, counts / total.clamp_min(1), self.shares).float()
        self.shares.lerp_(shares, 1.0 - teacher_momentum(self.updates, _LIMIT))
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the running shares."""
        return {"shares": self.shares, "updates": torch.tensor(self.updates)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the running shares."""
        self.shares.copy_(state["shares"])
        self.updates = int(state["updates"])


def label_and_prediction_counts(batch: Batch, logits: Tensor) -> Tensor:
    """Count a worker's pixels by class: [1,2,C] float64, labels, and the teacher's probabilities as they are.

    Args:
        batch: this worker's; padding does not count.
        logits: [Bu,C,H,W] of the weak view.
    """
    prob = logits.float().softmax(1)
    if batch.unlabeled_valid is not None:
        prob = prob * downsample(batch.unlabeled_valid, logits.shape[-2:]).unsqueeze(1)
    labeled = class_counts(batch.labels, logits.shape[1]).double()
    return torch.stack([labeled, prob.sum((0, 2, 3), dtype=torch.float64)]).unsqueeze(0)


def class_counts(labels: Tensor, num_classes: int) -> Tensor:
    """Count the pixels of each class, 255 aside: [C] int64. Static shapes, no waiting for the device."""
    flat = labels.flatten().long()
    counts = torch.zeros(IGNORE + 1, dtype=torch.int64, device=labels.device)  # float32 counts no further than 2 ** 24
    return counts.scatter_add_(0, flat, torch.ones_like(flat))[:num_classes]


def class_weights(reliable: Tensor, power: float) -> Tensor:
    """Weigh classes by (reliable pixels of the class) ** -power, with a mean of 1 over these pixels: [C] float32.

    Args:
        reliable: [C] int64, reliable pixels of the global batch by pseudo-label.
        power: 0: all 1; 1: every class that is there weighs the same in all.
    """
    reliable = reliable.float()
    weights = reliable.clamp_min(1) ** -power
    return weights * (reliable.sum() / (weights * reliable).sum().clamp_min(1e-30))
