"""Which normalisation layers a network has: BatchNorm (plain or synchronised), GroupNorm, or frozen statistics."""

import math
from typing import Literal

from timm.layers import BatchNormAct2d, GroupNormAct, convert_sync_batchnorm, freeze_batch_norm_2d
from torch import nn

_GROUPS = 32


def convert_normalization(
    module: nn.Module, kind: Literal["batch", "group", "frozen"], *, pooled: bool = False
) -> None:
    """Replace every BatchNorm2d below `module`, in place: group -> GroupNorm, frozen -> fixed statistics.

    Frozen layers keep scale and shift too. Where nothing is pretrained (decoder and heads), they compute the identity.

    Args:
        module: a network.
        kind: which normalisation it shall have.
        pooled: `module` follows a global pooling, so that its maps may be a single pixel.
    """
    pooled = pooled or any(isinstance(child, nn.AdaptiveAvgPool2d) for child in module.children())
    for name, child in module.named_children():
        if kind == "group" and isinstance(child, nn.BatchNorm2d | BatchNormAct2d):
            setattr(module, name, _group_norm(child, pooled))
        elif kind == "frozen" and isinstance(child, nn.BatchNorm2d | BatchNormAct2d):
            setattr(module, name, freeze_batch_norm_2d(child))
        else:
            convert_normalization(child, kind, pooled=pooled)


def synchronize(module: nn.Module) -> nn.Module:
    """`module` with SyncBatchNorm in place of BatchNorm (CUDA only; timm's conversion keeps fused activations)."""
    converted: nn.Module = convert_sync_batchnorm(module)
    return converted


def _group_norm(norm: nn.BatchNorm2d, pooled: bool) -> nn.Module:
    groups = math.gcd(_GROUPS, norm.num_features)
    if pooled and groups == norm.num_features > 1:  # one channel of one pixel (pooled ASPP) is no sample
        groups //= 2
    if isinstance(norm, BatchNormAct2d):  # timm fuses the activation into the norm
        fused = GroupNormAct(norm.num_features, num_groups=groups, eps=norm.eps)
        fused.drop, fused.act = norm.drop, norm.act
        return fused
    return nn.GroupNorm(groups, norm.num_features, eps=norm.eps)
