"""Supervised cross entropy (plain and OHEM) and the pseudo-label loss, normalised over the global batch.

Each function returns this worker's part of the global loss times the number of workers, so that the mean over the
workers, which is what data-parallel training takes of gradients, is the loss of the global batch.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from u2pl_ray.config.schema import IGNORE, OhemConfig
from u2pl_ray.method.collectives import Collectives


def cross_entropy(logits: Tensor, labels: Tensor, total: Tensor, world_size: int) -> Tensor:
    """Mean cross entropy over the `total` labeled pixels of the global batch (U2PL, eq. 1); 0 if there is none.

    Args:
        logits: [B,C,h,w], any floating dtype; taken as float32.
        labels: [B,h,w] uint8 or int64, 255 = ignore.
        total: 0-dim integer, number of labels != 255 over all workers.
        world_size: number of workers.
    """
    summed = F.cross_entropy(logits.float(), labels.long(), ignore_index=IGNORE, reduction="sum")
    return summed * (world_size / total.clamp(min=1))


def ohem_cross_entropy(logits: Tensor, labels: Tensor, config: OhemConfig, collectives: Collectives) -> Tensor:
    """Mean cross entropy over the hard pixels of the global batch (Shrivastava et al., CVPR 2016, for pixels).

    Hard is a pixel whose probability of its label is at most max(threshold, the min_kept-th smallest of them); with
    fewer than min_kept labeled pixels all are kept.

    Args:
        logits: [B,C,h,w], any floating dtype; taken as float32.
        labels: [B,h,w] uint8 or int64, 255 = ignore.
        config: threshold and min_kept, the latter for the global batch.
        collectives: one gather of a float per pixel.
    """
    losses = F.cross_entropy(logits.float(), labels.long(), ignore_index=IGNORE, reduction="none")
    # Ignored pixels sort last, as less hard than any other, and are left out by what is finite.
    probability = torch.where(labels == IGNORE, torch.inf, (-losses.detach()).exp())
    (everywhere,) = collectives.gather(probability)
    limit = _smallest(everywhere, config.min_kept).clamp(min=config.threshold)
    kept = (probability <= limit) & probability.isfinite()
    total = ((everywhere <= limit) & everywhere.isfinite()).sum().clamp(min=1)
    return torch.where(kept, losses, 0.0).sum() * (collectives.world_size / total)


def _smallest(values: Tensor, k: int) -> Tensor:
    """The k-th smallest (1-based) as a 0-dim tensor; inf if there are fewer than k values."""
    if k > values.numel():
        return values.new_full((), torch.inf)
    if values.device.type == "cpu":
        return values.new_tensor(float(np.partition(values.numpy().ravel(), k - 1)[k - 1]))
    return values.flatten().sort().values[k - 1]  # kthvalue would do it in a single block of threads


def pseudo_label_loss(logits: Tensor, targets: Tensor, reliable: Tensor, world_size: int) -> Tensor:
    """lambda_u * L_u (U2PL, eq. 2): mean cross entropy over reliable pixels, times all pixels / reliable pixels.

    Args:
        logits: [B,C,h,w] of the student for this worker's mixed unlabeled images; taken as float32.
        targets: [B,h,w] uint8 pseudo-labels, 255 where they are ignored or unreliable.
        reliable: 0-dim integer, number of targets != 255 over all workers.
        world_size: number of workers; every one has as many pixels.

    0, with a gradient of 0, if no pixel of the global batch is reliable.
    """
    pixels = targets.numel() * world_size
    weight = pixels / reliable.clamp(min=1)
    return weight * cross_entropy(logits, targets, reliable, world_size)
