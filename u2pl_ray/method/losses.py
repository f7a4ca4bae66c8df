"""Supervised cross entropy (plain and OHEM) and the pseudo-label loss, normalised over the global batch.

Each function returns this worker's part of the global loss times the number of workers, so that the mean over the
workers, which is what data-parallel training takes of gradients, is the loss of the global batch.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from u2pl_ray.config.method import OhemConfig
from u2pl_ray.config.schema import IGNORE
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.maps import per_pixel, upsample
from u2pl_ray.method.softmax import SoftmaxBands


def cross_entropy(
    logits: Tensor, labels: Tensor, total: Tensor, world_size: int, class_weights: Tensor | None = None
) -> Tensor:
    """Compute L_s (U2PL, section 3.1): mean cross entropy over the `total` labeled pixels of the global batch, else 0.

    Args:
        logits: [B,C,H,W], any floating dtype; taken as float32, and upsampled to the labels' size.
        labels: [B,h,w] uint8 or int64, 255 = ignore.
        total: 0-dim integer, number of labels != 255 over all workers.
        world_size: number of workers.
        class_weights: [C] float32, factors on the pixels' losses by label; `total` stays what divides the sum.
    """
    if logits.device.type == "cpu":
        summed = _BandedCrossEntropy.apply(logits, labels, class_weights)
    else:
        upsampled = upsample(logits, labels.shape[-2:])
        summed = F.cross_entropy(upsampled, labels.long(), weight=class_weights, ignore_index=IGNORE, reduction="sum")
    return summed * (world_size / total.clamp(min=1))


def ohem_cross_entropy(logits: Tensor, labels: Tensor, config: OhemConfig, collectives: Collectives) -> Tensor:
    """Mean cross entropy over the hard pixels of the global batch (Shrivastava et al., CVPR 2016, for pixels).

    Hard is a pixel whose probability of its label is at most max(threshold, the min_kept-th smallest of them); with
    fewer than min_kept labeled pixels all are kept.

    Args:
        logits: [B,C,H,W], any floating dtype; taken as float32, and upsampled to the labels' size.
        labels: [B,h,w] uint8 or int64, 255 = ignore.
        config: threshold and min_kept, the latter for the global batch.
        collectives: one gather of a float per pixel.
    """
    probability = per_pixel(_probability, logits, labels.shape[-2:], labels)
    (everywhere,) = collectives.gather(probability)
    limit = _smallest(everywhere, config.min_kept).clamp(min=config.threshold)
    total = ((everywhere <= limit) & everywhere.isfinite()).sum()
    kept = labels.masked_fill(probability > limit, IGNORE)
    return cross_entropy(logits, kept, total, collectives.world_size)


def _probability(logits: Tensor, labels: Tensor) -> Tensor:
    """Of each pixel's label; inf, so easier than any other, where it is 255."""
    losses = F.cross_entropy(logits, labels.long(), ignore_index=IGNORE, reduction="none")
    return torch.where(labels == IGNORE, torch.inf, (-losses).exp())


def _smallest(values: Tensor, k: int) -> Tensor:
    """The k-th smallest (1-based) as a 0-dim tensor; inf if there are fewer than k values."""
    if k > values.numel():
        return values.new_full((), torch.inf)
    if values.device.type == "cpu":
        return values.new_tensor(float(np.partition(values.numpy().ravel(), k - 1)[k - 1]))
    return values.flatten().sort().values[k - 1]  # kthvalue would do it in a single block of threads


def pseudo_label_loss(
    logits: Tensor,
    targets: Tensor,
    reliable: Tensor,
    possible: Tensor,
    world_size: int,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Compute lambda_u * L_u (U2PL, section 3.1): mean cross entropy over reliable pixels, times possible / reliable.

    lambda_u is the inverse of the reliable share of the pixels that could have been reliable: padding could not.

    Args:
        logits: [B,C,H,W] of the student for this worker's mixed unlabeled images, any floating dtype.
        targets: [B,h,w] uint8 pseudo-labels, 255 where they are ignored or unreliable.
        reliable: 0-dim integer, number of targets != 255 over all workers.
        possible: 0-dim integer, number of pixels with a pseudo-label, reliable or not, over all workers.
        world_size: number of workers.
        class_weights: see `cross_entropy`.

    0, with a gradient of 0, if no pixel of the global batch is reliable.
    """
    weight = possible / reliable.clamp(min=1)
    return weight * cross_entropy(logits, targets, reliable, world_size, class_weights)


class _BandedCrossEntropy(torch.autograd.Function):
    """Summed cross entropy of upsampled logits on the CPU, whose gradient is made along with it.

    Neither the upsampled logits nor their gradient exist as a whole: see `maps.Bands`.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, class_weights: Tensor | None) -> Tensor:
        bands = SoftmaxBands(logits, labels.shape[-2:])
        summed = torch.zeros((), dtype=torch.float64)
        for rows in bands:
            exponents, powers, total = bands.powers(rows)
            label = labels[:, rows].unsqueeze(1)
            valid = (label != IGNORE).view(torch.uint8)  # several times faster to convert than bool
            label, weight = (label * valid).long(), valid.float()
            if class_weights is not None:
                weight *= class_weights[label]
            losses = total.log2().sub_(exponents.gather(1, label)).mul_(weight)
            summed += losses.sum()
            if ctx.needs_input_grad[0]:  # softmax - one-hot
                gradient = powers.mul_(weight / total).scatter_add_(1, label, weight.neg_())
                bands.add_gradient(rows, gradient)
        if ctx.needs_input_grad[0]:
            ctx.dtype = logits.dtype
            ctx.save_for_backward(bands.gradient())
        return (summed * math.log(2)).float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * grad).to(ctx.dtype), None, None
