"""The count of pixels from which the diagnostics of pseudo-labels are read: one tensor, one pass."""

import math

import torch
from torch import Tensor

from u2pl_ray.config.schema import IGNORE

BINS = 32
"""Equal bins of the entropy between 0 and ln C."""
UNRELIABLE, RELIABLE = 0, 1
RIGHT, WRONG, UNKNOWN = 0, 1, 2


def pixel_counts(pseudo_labels: Tensor, reliable: Tensor, truth: Tensor, entropies: Tensor, num_classes: int) -> Tensor:
    """Valid unlabeled pixels by class, reliability, truth and entropy: [C, 2, 3, BINS] int64.

    Args:
        pseudo_labels: [B,h,w] uint8; pixels of 255 are not counted.
        reliable: [B,h,w] bool.
        truth: [B,h,w] uint8 or int64; 255 = unknown.
        entropies: [B,h,w] float32, in nats.
        num_classes: C.
    """
    bins = (entropies.nan_to_num() * (BINS / math.log(num_classes))).to(torch.int32).clamp_(0, BINS - 1)
    verdict = torch.where(truth == IGNORE, UNKNOWN, (truth != pseudo_labels).to(torch.int32))
    code = pseudo_labels.to(torch.int32).mul_(2).add_(reliable).mul_(3).add_(verdict).mul_(BINS).add_(bins)
    length = num_classes * 2 * 3 * BINS
    code = code.clamp_(max=length).flatten()  # 255 is beyond every class: one bin for all that is not counted
    return _count(code, length + 1)[:length].view(num_classes, 2, 3, BINS)


def _count(code: Tensor, length: int) -> Tensor:
    if code.device.type == "cpu":
        return torch.bincount(code, minlength=length)
    counts = torch.zeros(length, dtype=torch.int64, device=code.device)  # bincount would wait for the device
    return counts.scatter_add_(0, code.long(), torch.ones_like(code, dtype=torch.int64))
