"""Which pixels to trust: entropy, its quantile gamma_t, and the partition they make (U2PL, section 3.2)."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from u2pl_ray.method.maps import upsample
from u2pl_ray.method.softmax import SoftmaxBands


def entropy(logits: Tensor) -> Tensor:
    """H(p) = -sum_c p_c ln p_c of the softmax prediction, in nats: [n,C,h,w] -> [n,h,w] float32 in [0, ln C].

    With b = logits - max, Z = sum e^b: H = ln Z - sum b e^b / Z, which takes one exponential per class.
    """
    below = logits.float() - logits.amax(1, keepdim=True)
    exponential = below.exp()
    total = exponential.sum(1)
    return total.log() - exponential.mul_(below).sum(1) / total


def upsampled_entropy(logits: Tensor, size: Sequence[int]) -> Tensor:
    """`entropy(upsample(logits, size))`: [n,C,H,W], any floating dtype, to [n,h,w] float32. No gradient.

    On CPU the upsampled logits never exist as a whole: see `maps.Bands`.
    """
    if logits.device.type != "cpu":
        return entropy(upsample(logits.detach(), size))
    bands = SoftmaxBands(logits, size)
    result = torch.empty(len(logits), *size)
    for rows in bands:
        exponents, powers, total = bands.powers(rows)
        mean = powers.mul_(exponents).sum(1, keepdim=True).div_(total)
        torch.mul(total.log2_().sub_(mean), math.log(2), out=result[:, rows].unsqueeze(1))
    return result


def confidence(logits: Tensor) -> Tensor:
    """Compute the greatest class probability: [n,C,h,w] -> [n,h,w] float32."""
    return (logits.float() - logits.float().amax(1, keepdim=True)).exp().sum(1).reciprocal()


def most_likely(logits: Tensor) -> Tensor:
    """The pseudo-label: the class of the greatest logit (the first of equals): [n,C,h,w] -> [n,h,w] uint8, C < 256.

    255, which is ignored, where a logit is not a number. Whole-map comparisons, several times faster on CPU than an
    argmax over a dimension that is not the last.
    """
    classes = torch.arange(logits.shape[1], dtype=torch.uint8, device=logits.device).view(-1, 1, 1)
    lower = logits != logits.amax(1, keepdim=True)
    return lower.view(torch.uint8).mul_(255).bitwise_or_(classes).amin(1)


def gamma(entropies: Tensor, alpha: float) -> Tensor:
    """gamma_t: the (1 - alpha_t) quantile of the entropies that are not NaN, linearly interpolated; 0-dim float32.

    Args:
        entropies: any shape, float32; NaN marks pixels that do not count (ignored ones).
        alpha: fraction to be called unreliable, in [0, 1].

    0 if no pixel counts. On CUDA all shapes are static and the host never waits; on CPU, selecting two order statistics
    takes a tenth of the time of a sort.
    """
    way = gamma_by_selection if entropies.device.type == "cpu" else gamma_by_sort
    return way(entropies.detach(), alpha)


def gamma_by_sort(entropies: Tensor, alpha: float) -> Tensor:
    """`gamma` with static shapes."""
    if not entropies.numel():
        return entropies.new_zeros(())
    ordered = entropies.flatten().sort().values  # NaN last
    last = (~ordered.isnan()).sum() - 1
    position = last.clamp(min=0).double() * (1.0 - alpha)
    low = position.long()
    high = torch.minimum(low + 1, last.clamp(min=0))
    first, second = ordered.index_select(0, torch.stack([low, high])).double().unbind()
    value = first + (second - first) * (position - low)
    return torch.where(last >= 0, value, 0.0).float()


def gamma_by_selection(entropies: Tensor, alpha: float) -> Tensor:
    """`gamma` by selection on the CPU: the lower order statistic, then the least of what is above it."""
    values = entropies.numpy().ravel()
    last = values.size - int(np.count_nonzero(np.isnan(values))) - 1
    if last < 0:
        return entropies.new_zeros(())
    position = last * (1.0 - alpha)
    low = int(position)
    first, second = _neighbours(values, low, last)
    return entropies.new_tensor(first + (second - first) * (position - low))


_SAMPLE = 4096  # values that tell about where a quantile lies


def _neighbours(values: np.ndarray, low: int, last: int) -> tuple[float, float]:
    """The order statistics low and min(low + 1, last) of values [K] whose last that is not NaN is `last`.

    A sample gives two bounds that most likely enclose them: then only what is within these has to be partitioned.
    """
    sample = np.sort(values[:: max(1, values.size // _SAMPLE)])  # NaN last
    known = sample.size - int(np.count_nonzero(np.isnan(sample)))
    if known:
        place, margin = low / (last + 1) * known, 2 * known**0.5  # four standard deviations or more
        least, most = (sample[min(max(int(each), 0), known - 1)] for each in (place - margin, place + margin))
        below = int(np.count_nonzero(values < least))
        within = values[np.flatnonzero((values >= least) & (values <= most))]
        if below <= low and min(low + 1, last) < below + within.size:
            values, low, last = within, low - below, last - below
    ordered = np.partition(values, low)  # numpy is much slower at two places at once
    first = float(ordered[low])
    return first, float(np.fmin.reduce(ordered[low + 1 :])) if low < last else first


def gamma_by_class(entropies: Tensor, labels: Tensor, alpha: float, num_classes: int) -> Tensor:
    """Compute one gamma_t for each class, among the pixels with that pseudo-label: [C] float32; 0 where there is none.

    Class-balanced self-training (Zou et al., ECCV 2018): every class keeps the share 1 - alpha of its pixels. Static
    shapes: two sorts.

    Args:
        entropies: any shape, float32; NaN marks pixels that do not count.
        labels: of the same shape, uint8; 255 = none.
        alpha: fraction to be called unreliable, in [0, 1].
        num_classes: C.
    """
    flat = labels.flatten().long().masked_fill(entropies.flatten().isnan(), num_classes).clamp_max(num_classes)
    ordered, place = entropies.flatten().nan_to_num(torch.inf).sort()
    classes, by_class = flat[place].sort(stable=True)
    ordered = ordered[by_class]
    counts = torch.zeros(num_classes + 1, dtype=torch.int64, device=flat.device)
    counts = counts.scatter_add_(0, classes, torch.ones_like(classes))
    first = (counts.cumsum(0) - counts)[:num_classes]
    last = (counts[:num_classes] - 1).clamp_min(0)
    position = last.double() * (1.0 - alpha)
    low = position.long()
    most = max(len(ordered) - 1, 0)
    high = torch.minimum(low + 1, last)
    below, above = (ordered[(first + offset).clamp_max(most)].double() for offset in (low, high))
    value = below + (above - below) * (position - low)
    return torch.where(counts[:num_classes] > 0, value, 0.0).float()


def ignore(labels: Tensor, where: Tensor) -> Tensor:
    """Labels uint8, 255 where the bool mask is true. On CPU, a tenth of the time of masked_fill."""
    return labels | where.view(torch.uint8).neg()


def partition(entropies: Tensor, threshold: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Reliable (H < gamma_t) and unreliable (H > gamma_t) pixels; NaN, an ignored pixel, is neither.

    Args:
        entropies: any shape, float32.
        threshold: gamma_t of the whole global batch, 0-dim, or one of each pixel.
        alpha: with 0, gamma_t is the greatest entropy and no pixel is unreliable: all are reliable, that one too.

    Returns:
        Two bool tensors of the shape of `entropies`. A pixel exactly at gamma_t is neither (unless alpha is 0).
    """
    reliable = entropies <= threshold if alpha == 0.0 else entropies < threshold
    return reliable, entropies > threshold
