"""Between the large map (the images' h x w) and the small one (the decoder's H x W)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def upsample(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Logits [B,C,H,W] of any floating dtype to [B,C,h,w] float32, bilinear (corners not aligned)."""
    return F.interpolate(logits.float(), tuple(size), mode="bilinear", align_corners=False)


def downsample(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Maps [B,h,w] of any dtype to [B,H,W] by the nearest pixel: source index floor(i * h / H), in whole numbers."""
    (h, w), (height, width) = labels.shape[-2:], tuple(size)
    rows = torch.arange(height, device=labels.device) * h // height
    columns = torch.arange(width, device=labels.device) * w // width
    return labels.index_select(-2, rows).index_select(-1, columns)
