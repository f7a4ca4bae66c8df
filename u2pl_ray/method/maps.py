"""Between the small map (the decoder's H x W) and the large one (the images' h x w)."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

BAND_BYTES = 1 << 21
"""Size of a band of upsampled logits: what a core's cache holds."""
_ROWS = 12  # multiplied at a time: the weights of so few are a narrow block of the matrix, nearly all not 0
_COLUMNS = 64  # interpolated at a time
_SOURCES = 16  # on the way back: small columns whose gradient is summed at a time


def upsample(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Logits [n,C,H,W] of any floating dtype to [n,C,h,w] float32, bilinear (corners not aligned)."""
    return F.interpolate(logits.float(), tuple(size), mode="bilinear", align_corners=False)


def downsample(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Maps [n,h,w] of any dtype to [n,H,W] by the nearest pixel: source index floor(i * h / H), in whole numbers."""
    (h, w), (height, width) = labels.shape[-2:], tuple(size)
    rows = torch.arange(height, device=labels.device) * h // height
    columns = torch.arange(width, device=labels.device) * w // width
    return labels.index_select(-2, rows).index_select(-1, columns)


@torch.no_grad()
def per_pixel(function: Callable[..., Tensor], logits: Tensor, size: Sequence[int], *maps: Tensor) -> Tensor:
    """`function(upsample(logits, size), *maps)` for a function that looks at each pixel by itself. No gradient.

    On CPU the upsampled logits are made and used a band of rows at a time, and never exist as a whole.

    Args:
        function: takes [n,C,r,w] float32, and [n,r,w] for each of the maps; returns a new [n,r,w].
        logits: [n,C,H,W], any floating dtype.
        size: (h, w).
        maps: [n,h,w] each.
    """
    if logits.device.type != "cpu":
        return function(upsample(logits, size), *maps)
    bands = Bands(logits, size)
    return torch.cat([function(bands.read(rows), *(map_[:, rows] for map_ in maps)) for rows in bands], 1)


class Bands:
    """Upsampled logits on the CPU, a band of rows at a time, and the way back for their gradient.

    First the columns are interpolated, of the whole (H rows are few); then each band's rows. Both are products with
    narrow slices of a matrix of interpolation weights, and take a fraction of the time of torch's own bilinear kernels.
    Rows come first in memory ([H, n, C, w]), so that a band is one product of two matrices, and what is computed of
    it finds it in the cache.

    Args:
        logits: [n,C,H,W], any floating dtype.
        size: (h, w).
    """

    def __init__(self, logits: Tensor, size: Sequence[int]) -> None:
        n, classes, height, self._small_width = logits.shape
        self._height, self._width = size
        self._shape = n, classes
        small = logits.detach().float().permute(2, 0, 1, 3).contiguous()
        self._wide = _interpolate_columns(small.view(-1, self._small_width), self._width).view(height, -1)
        self._step = min(self._height, max(1, BAND_BYTES // max(1, self._wide.shape[1] * 4)))
        self._band = self._wide.new_empty(self._step, self._wide.shape[1])
        self._gradient: Tensor | None = None
        self._begun = 0  # rows of the gradient that hold anything

    def __iter__(self) -> Iterator[slice]:
        """Rows of each band, from the top."""
        for start in range(0, self._height, self._step):
            yield slice(start, min(start + self._step, self._height))

    def read(self, rows: slice) -> Tensor:
        """A band: [n,C,r,w] float32, with its rows first in memory, where the next band will be."""
        band = self._band[: rows.stop - rows.start]
        for part, source, weights in self._blocks(rows):
            torch.mm(weights, self._wide[source], out=band[part])
        return band.view(-1, *self._shape, self._width).permute(1, 2, 0, 3)

    def add_gradient(self, rows: slice, gradient: Tensor) -> None:
        """Take in the gradient of a band, laid out as `read` returned the band; of each band once, in order."""
        if self._gradient is None:
            self._gradient = torch.empty_like(self._wide)
        lines = gradient.permute(2, 0, 1, 3).reshape(-1, self._wide.shape[1])
        for part, source, weights in self._blocks(rows):
            self._gradient[self._begun : source.stop] = 0  # when they are about to be used, not all of them at first
            self._begun = max(self._begun, source.stop)
            self._gradient[source].addmm_(weights.t(), lines[part])

    def gradient(self) -> Tensor:
        """The gradient of the logits: [n,C,H,W] float32."""
        total = torch.zeros_like(self._wide) if self._gradient is None else self._gradient
        total[self._begun :] = 0
        small = _adjoint_columns(total.view(-1, self._width), self._small_width)
        return small.view(-1, *self._shape, self._small_width).permute(1, 2, 0, 3).contiguous()

    def _blocks(self, rows: slice) -> Iterator[tuple[slice, slice, Tensor]]:
        """As `_blocks`, of a band; its rows are numbered within it."""
        for target, source, weights in _blocks(len(self._wide), self._height, _ROWS, rows):
            yield slice(target.start - rows.start, target.stop - rows.start), source, weights


def _interpolate_columns(lines: Tensor, width: int) -> Tensor:
    """Lines [R, w] to [R, width]."""
    if width == lines.shape[1]:
        return lines
    result = lines.new_empty(len(lines), width)
    for target, source, weights in _blocks(lines.shape[1], width, _COLUMNS, slice(0, width)):
        torch.mm(lines[:, source], weights.t(), out=result[:, target])
    return result


def _adjoint_columns(gradient: Tensor, width: int) -> Tensor:
    """The gradient of `_interpolate_columns`: [R, wide] to [R, width]."""
    if width == gradient.shape[1]:
        return gradient
    result = gradient.new_empty(len(gradient), width)
    for source, target, weights in _source_blocks(width, gradient.shape[1]):
        torch.mm(gradient[:, target], weights, out=result[:, source])
    return result


def _blocks(source: int, target: int, step: int, among: slice) -> Iterator[tuple[slice, slice, Tensor]]:
    """Blocks of `step` targets, the sources that each block is made of, and the weights [targets, sources]."""
    weights, first, last = _interpolation(source, target)
    for start in range(among.start, among.stop, step):
        block = slice(start, min(start + step, among.stop))
        needed = slice(first[block.start], last[block.stop - 1] + 1)
        yield block, needed, weights[block, needed]


@lru_cache(maxsize=16)
def _source_blocks(source: int, target: int) -> list[tuple[slice, slice, Tensor]]:
    """Blocks of source columns, the target columns that are made of them, and the weights [targets, sources]."""
    weights, first, last = _interpolation(source, target)
    blocks = []
    for start in range(0, source, _SOURCES):
        columns = slice(start, min(start + _SOURCES, source))
        made = [i for i in range(target) if first[i] < columns.stop and last[i] >= start]
        reached = slice(made[0], made[-1] + 1) if made else slice(0, 0)
        blocks.append((columns, reached, weights[reached, columns].contiguous()))
    return blocks


@lru_cache(maxsize=16)
def _interpolation(source: int, target: int) -> tuple[Tensor, list[int], list[int]]:
    """Weights [target, source] of linear interpolation; first and last source that each target needs."""
    weights = F.interpolate(torch.eye(source)[None, None], (target, source), mode="bilinear", align_corners=False)[0, 0]
    used = (weights != 0).int()
    last = source - 1 - used.flip(1).argmax(1)
    return weights, used.argmax(1).tolist(), last.tolist()
