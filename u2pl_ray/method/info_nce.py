"""InfoNCE of chosen pixels against their class prototype and rows of the memory bank, as one autograd function."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_EPS = 1e-8  # of the norms, as in torch.cosine_similarity
_CHUNK = 1 << 24  # bank elements gathered at a time


def pixel_features(representation: Tensor, pixel: Tensor) -> Tensor:
    """Features of pixels: representation [n, D, H, W], pixel [K] int64 (image * H * W + y * W + x): [K, D] float32."""
    return representation.permute(0, 2, 3, 1)[_coordinates(pixel, representation)].float()


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
    `representation` only. Memory beyond the arguments: O(A * (N + D)), and the dense gradient in the backward pass.

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
        feature = pixel_features(representation, pixel)
        norm = feature.norm(dim=1, keepdim=True).clamp_min(_EPS)
        unit = feature / norm
        positive = positives[classes]
        similar = (unit * positive).sum(1, keepdim=True)
        step = max(1, _CHUNK // max(1, rows.shape[1] * unit.shape[1]))
        losses, pulls = [], []
        for part in range(0, len(pixel), step):
            chunk = slice(part, part + step)
            negative = keys[rows[chunk]].float()
            dissimilar = torch.bmm(negative, unit[chunk].unsqueeze(2)).squeeze(2)
            logits = torch.cat([similar[chunk], dissimilar], 1) / temperature
            total = logits.logsumexp(1, keepdim=True)
            share = (logits - total).exp()
            losses.append((total - logits[:, :1]).squeeze(1))
            pull = torch.bmm(share[:, None, 1:], negative).squeeze(1) + (share[:, :1] - 1) * positive[chunk]
            pulls.append(pull)
        if not losses:
            pulls.append(unit)
            losses.append(weight)
        pull = torch.cat(pulls) / temperature
        tangent = (pull - (pull * unit).sum(1, keepdim=True) * unit) / norm
        ctx.save_for_backward(pixel, tangent * weight.unsqueeze(1))
        ctx.like = torch.empty_like(representation, device="meta")
        return (torch.cat(losses) * weight).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        pixel, gradient = ctx.saved_tensors
        dense = torch.zeros_like(ctx.like, device=gradient.device)
        rows = (grad * gradient).to(dense.dtype)
        dense.permute(0, 2, 3, 1).index_put_(_coordinates(pixel, dense), rows, accumulate=True)
        return dense, None, None, None, None, None, None, None


def _coordinates(pixel: Tensor, representation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Image, y and x of pixel numbers."""
    height, width = representation.shape[2:]
    line = pixel // width
    return line // height, line % height, pixel % width
