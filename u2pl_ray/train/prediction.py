"""What a network says of images: in one pass or by sliding windows, mirrored, and at several scales.

The order is that of U2PL's evaluation and of mmsegmentation: the image is resized by each scale, windows of one size
slide over the resized image, and each window may be seen mirrored too.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from u2pl_ray.config.evaluation import EvaluationConfig
from u2pl_ray.models.segmentor import STRIDE


@torch.inference_mode()
def predict(
    network: nn.Module,
    images: Tensor,
    size: tuple[int, int] | None = None,
    views: EvaluationConfig = EvaluationConfig(),  # noqa: B008  (frozen)
) -> Tensor:
    """Return the most likely class of every pixel, uint8 [B, h, w].

    With windows and a single scale, values of one row of windows exist at a time, so that an image may be larger than
    what its class probabilities would fit into; several scales need [B, C, h, w] as a whole.

    Args:
        network: in eval mode; images [B, 3, H, W], H and W multiples of 32, to `Outputs`.
        images: float32 [B, 3, H, W], normalised; they may be padded at bottom and right.
        size: (h, w) without the padding; None: there is none.
        views: windows, flip, scales, and what is averaged.
    """
    height, width = size or (images.shape[-2], images.shape[-1])
    images = images[..., :height, :width]
    if views.single:  # softmax would change nothing but ties by rounding
        return _logits(network, images).argmax(1).byte()
    if views.scales == (1.0,):
        return torch.cat([band.argmax(1).byte() for band in _bands(network, images, views)], 1)
    total: Tensor | None = None
    for scale in views.scales:
        scaled = _resize(images, (max(1, round(height * scale)), max(1, round(width * scale))))
        values = _resize(torch.cat(list(_bands(network, scaled, views)), 2), (height, width))
        total = values if total is None else total.add_(values)
    assert total is not None  # there is at least one scale
    return total.argmax(1).byte()


@torch.inference_mode()
def logit_bands(network: nn.Module, images: Tensor, views: EvaluationConfig) -> Iterator[Tensor]:
    """Yield the mean logits [B, C, r, w] of images [B, 3, h, w] by windows, a band of rows at a time from the top.

    Args:
        network: as in `predict`.
        images: float32 [B, 3, h, w], normalised.
        views: window and stride; flip and scales are left out.
    """
    yield from _bands(network, images, views.model_copy(update={"flip": False, "average": "logits"}))


def window_starts(length: int, window: int, step: int) -> list[int]:
    """Return where windows begin along a side: `step` apart, the last one where it ends with the image.

    Args:
        length: of the side, in pixels, at least `window`.
        window: length of a window.
        step: from one window to the next, at most `window`.
    """
    return [min(start, length - window) for start in range(0, length - window + step, step)]


def _bands(network: nn.Module, images: Tensor, views: EvaluationConfig) -> Iterator[Tensor]:
    """Yield the mean values [B, C, r, w] of images [B, 3, h, w], a band of rows at a time from the top."""
    if views.window is None:
        yield _values(network, images, views)
        return
    height, width = images.shape[-2:]
    tall, wide = min(views.window, height), min(views.window, width)
    tops, lefts = window_starts(height, tall, views.step), window_starts(width, wide, views.step)
    over_rows, over_columns = (_coverage(*side, images.device) for side in ((tops, tall, height), (lefts, wide, width)))
    left_over: Tensor | None = None  # rows of the last band that this one's windows reach into
    for top, end in zip(tops, [*tops[1:], height], strict=True):
        total: Tensor | None = None
        for left in lefts:
            values = _values(network, images[..., top : top + tall, left : left + wide], views)
            if total is None:
                total = values.new_zeros(*values.shape[:2], tall, width)
                if left_over is not None:
                    total[:, :, : left_over.shape[2]] = left_over
            total[..., left : left + wide] += values
        assert total is not None  # there is at least one window
        done = end - top
        yield total[:, :, :done] / (over_rows[top:end, None] * over_columns)
        left_over = total[:, :, done:].clone()


def _coverage(starts: list[int], window: int, length: int, device: torch.device) -> Tensor:
    """Count the windows that lie over each place of a side: float32 [length]."""
    counts = torch.zeros(length, device=device)
    for start in starts:
        counts[start : start + window] += 1
    return counts


def _values(network: nn.Module, images: Tensor, views: EvaluationConfig) -> Tensor:
    """Compute probabilities or logits [B, C, h, w] of images [B, 3, h, w], averaged over the flip."""
    values = _averaged(_logits(network, images), views)
    if views.flip:
        mirrored = _averaged(_logits(network, images.flip(-1)), views).flip(-1)
        values = (values + mirrored) / 2
    return values


def _averaged(logits: Tensor, views: EvaluationConfig) -> Tensor:
    return logits.softmax(1) if views.average == "softmax" else logits


def _logits(network: nn.Module, images: Tensor) -> Tensor:
    """Compute logits [B, C, h, w] of images [B, 3, h, w] of any size, padded with the mean colour (zero) on the way."""
    height, width = images.shape[-2:]
    padded = F.pad(images, (0, -width % STRIDE, 0, -height % STRIDE))
    logits = network(padded).logits.float()
    return _resize(logits, (padded.shape[-2], padded.shape[-1]))[..., :height, :width]


def _resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps [B, D, h, w] to `size`, bilinear, corners not aligned."""
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
