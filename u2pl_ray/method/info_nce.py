"""InfoNCE of chosen pixels against their class prototype and rows of the memory bank, as one autograd function."""

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from u2pl_ray.method import pixels
from u2pl_ray.method.memory_bank import EPS
from u2pl_ray.method.softmax import exp_

with warnings.catch_warnings():  # torch warns of the first one in a process that they are in beta
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor([0, 1], [0], [0.0], (1, 1), check_invariants=False)

_CHUNK = 1 << 21  # elements of the bank visited at a time: 8 MiB of float32


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

    Memory beyond the arguments, in bytes: forward 4 * A * (6 * D + 6 * N), and 6 * max(2**21, N * D) on CUDA and for
    bfloat16 keys; kept for the backward pass 4 * A * D; the backward pass returns the dense gradient, n * D * H * W
    elements of the dtype of `representation`.

    Args:
        representation: [n, D, H, W], any floating dtype.
        pixel: [A] int64, anchors (may repeat).
        weight: [A] float32; 0 leaves an anchor out.
        classes: [A] int64, row of `positives` for each anchor.
        positives: [C, D] float32, unit norm.
        keys: [R, D], unit norm, float32 or bfloat16.
        rows: [A, N] int32 or int64, the rows of `keys` that are each anchor's negatives.
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
        feature = pixels.read_pixels(representation, pixel)
        norm = feature.norm(dim=1, keepdim=True).clamp_min(EPS)
        unit = feature / norm
        losses, pulls = _attraction(unit, positives.index_select(0, classes), keys, rows, temperature)
        tangent = (pulls - (pulls * unit).sum(1, keepdim=True) * unit) / norm
        ctx.save_for_backward(pixel, tangent * weight.unsqueeze(1))
        ctx.like = torch.empty_like(representation, device="meta")
        return (losses * weight).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        pixel, gradient = ctx.saved_tensors
        return pixels.scatter_pixels(ctx.like, pixel, grad * gradient), None, None, None, None, None, None, None


def _attraction(
    unit: Tensor, positive: Tensor, keys: Tensor, rows: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """InfoNCE of each anchor [A], and its gradient with respect to the anchor's unit-norm feature [A, D]."""
    # sampled_addmm refuses a pattern with more entries in a row than there are columns.
    fits = keys.dtype is torch.float32 and rows.shape[1] <= len(keys) and not pixels.static_shapes(keys.device)
    way = _in_place if fits else _copied
    losses, pulls = unit.new_empty(len(rows)), torch.empty_like(unit)
    step = max(1, _CHUNK // max(1, rows.shape[1] * unit.shape[1]))
    for start in range(0, len(rows), step):  # on CPU the second look at a piece's negatives finds them in the cache
        part = slice(start, start + step)
        losses[part], pulls[part] = way(unit[part], positive[part], keys, rows[part], temperature)
    return losses, pulls


def _in_place(unit: Tensor, positive: Tensor, keys: Tensor, rows: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """`_attraction` on CPU, where two kernels read the negatives where they are: gather-and-dot, gather-and-add."""
    (count, negatives), total = rows.shape, len(keys)
    starts = torch.arange(0, rows.numel() + 1, max(1, negatives), dtype=rows.dtype)
    zeros = unit.new_zeros(rows.numel())
    pattern = torch.sparse_csr_tensor(starts, rows.flatten(), zeros, (count, total), check_invariants=False)
    torch.sparse.sampled_addmm(pattern, unit, keys.t(), beta=0.0, out=pattern)
    dissimilar = pattern.values().view_as(rows)
    losses, share = _cross_entropy((unit * positive).sum(1, keepdim=True), dissimilar, temperature)
    pull = F.embedding_bag(rows, keys, mode="sum", per_sample_weights=share[:, 1:].contiguous())
    return losses, pull.addcmul_(share[:, :1] - 1, positive).div_(temperature)


def _copied(unit: Tensor, positive: Tensor, keys: Tensor, rows: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """`_attraction` by copying the negatives, as float32."""
    negative = keys.index_select(0, rows.flatten()).float().view(*rows.shape, -1)
    similar = (unit * positive).sum(1, keepdim=True)
    # A row times a matrix: on CPU half the time of the matrix times a column.
    dissimilar = torch.bmm(unit.unsqueeze(1), negative.transpose(1, 2)).squeeze(1)
    losses, share = _cross_entropy(similar, dissimilar, temperature)
    pull = torch.bmm(share[:, None, 1:], negative).squeeze(1)
    return losses, pull.addcmul_(share[:, :1] - 1, positive).div_(temperature)


def _cross_entropy(similar: Tensor, dissimilar: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Of similarities [A, 1] and [A, N], the first being right: the loss [A] and the softmax [A, 1 + N]."""
    logits = torch.cat([similar, dissimilar], 1).div_(temperature)
    logarithms = logits.log_softmax(1)
    return -logarithms[:, 0], exp_(logarithms)
