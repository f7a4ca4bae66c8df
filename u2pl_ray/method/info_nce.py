"""InfoNCE of chosen pixels against their class prototype and rows of the memory bank, as one autograd function."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from u2pl_ray.method.memory_bank import EPS
from u2pl_ray.method.pixels import read_pixels, scatter_pixels

_CHUNK = 1 << 22  # elements of the bank gathered at a time: 16 MiB


def info_nce(
    representation: Tensor,
    pixel: Tensor,
    weight: Tensor,
    classes: Tensor,
    positives: Tensor,
    keys: Tensor,
    rows: Tensor,
    temperature: float,
) -> Tensor:
    """Weighted sum over anchors a of -log exp(a.z+ / tau) / (exp(a.z+ / tau) + sum_j exp(a.z_j / tau)).

    a is the anchor's unit-norm feature, z+ the positive of its class, z_j its negatives. The gradient flows into
    `representation` only.

    Memory beyond the arguments, in bytes: forward 4 * A * (6 * D + N) + 4 * max(2**22, N * D) * (1 for float32 keys,
    1.5 for bfloat16); kept for the backward pass 4 * A * D; the backward pass returns the dense gradient, n * D * H * W
    elements of the dtype of `representation`.

    Args:
        representation: [n, D, H, W], any floating dtype.
        pixel: [A] int64, anchors (may repeat).
        weight: [A] float32; 0 leaves an anchor out.
        classes: [A] int64, row of `positives` for each anchor.
        positives: [C, D] float32, unit norm.
        keys: [R, D], unit norm, float32 or bfloat16.
        rows: [A, N] int64, the rows of `keys` that are each anchor's negatives.
        temperature: tau.

    Returns:
        0-dim float32.
    """
    return _InfoNCE.apply(representation, pixel, weight, classes, positives, keys, rows, temperature)


class _InfoNCE(torch.autograd.Function):
    """The forward pass also computes the gradient of each anchor, while its negatives are at hand."""

    @staticmethod
    def forward(
        ctx: Any,
        representation: Tensor,
        pixel: Tensor,
        weight: Tensor,
        classes: Tensor,
        positives: Tensor,
        keys: Tensor,
        rows: Tensor,
        temperature: float,
    ) -> Tensor:
        feature = read_pixels(representation, pixel)
        norm = feature.norm(dim=1, keepdim=True).clamp_min(EPS)
        unit = feature / norm
        losses, pulls = _attraction(unit, positives[classes], keys, rows, temperature)
        tangent = (pulls - (pulls * unit).sum(1, keepdim=True) * unit) / norm
        ctx.save_for_backward(pixel, tangent * weight.unsqueeze(1))
        ctx.like = torch.empty_like(representation, device="meta")
        return (losses * weight).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        pixel, gradient = ctx.saved_tensors
        return scatter_pixels(ctx.like, pixel, grad * gradient), None, None, None, None, None, None, None


def _attraction(
    unit: Tensor, positive: Tensor, keys: Tensor, rows: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """InfoNCE of each anchor [A], and its gradient with respect to the anchor's unit-norm feature [A, D]."""
    (count, negatives), dim = rows.shape, unit.shape[1]
    losses, pulls = unit.new_empty(count), torch.empty_like(unit)
    step = max(1, _CHUNK // (negatives * dim))
    gathered = keys.new_empty(min(step, count) * negatives, dim)
    for start in range(0, count, step):
        part = slice(start, start + step)
        row = rows[part].flatten()
        negative = torch.index_select(keys, 0, row, out=gathered[: len(row)]).float().view(-1, negatives, dim)
        similar = (unit[part] * positive[part]).sum(1, keepdim=True)
        # A row times a matrix: on CPU half the time of the matrix times a column.
        dissimilar = torch.bmm(unit[part].unsqueeze(1), negative.transpose(1, 2)).squeeze(1)
        logits = torch.cat([similar, dissimilar], 1) / temperature
        total = logits.logsumexp(1, keepdim=True)
        share = (logits - total).exp()
        losses[part] = (total - logits[:, :1]).squeeze(1)
        pull = torch.bmm(share[:, None, 1:], negative).squeeze(1)
        pulls[part] = pull.addcmul_(share[:, :1] - 1, positive[part]) / temperature
    return losses, pulls
