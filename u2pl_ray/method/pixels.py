"""Reading and writing the features of chosen pixels in maps [n, D, H, W].

A pixel's features lie H * W apart, each on another memory page: on CPU, visiting the pixels in order, each once, is
several times faster than in the order they are asked for.
"""

import numpy as np
import torch
from torch import Tensor


def static_shapes(device: torch.device) -> bool:
    """Whether no shape may depend on a value: everywhere but on CPU, where reading a value costs nothing."""
    return device.type != "cpu"


def read_pixels(maps: Tensor, pixel: Tensor) -> Tensor:
    """Features of pixels.

    Args:
        maps: [n, D, H, W], any floating dtype.
        pixel: [K] int64, image * H * W + y * W + x.

    Returns:
        [K, D] float32.
    """
    rows, source = read_distinct(maps, pixel)
    return rows if source is None else rows.index_select(0, source)


def read_distinct(maps: Tensor, pixel: Tensor) -> tuple[Tensor, Tensor | None]:
    """As `read_pixels`, but each pixel once: new rows [U, D] float32, and the row of each of the K pixels.

    With static shapes: K rows, and None. Memory: 4 * D * min(K, n * H * W) bytes for the rows.
    """
    if static_shapes(maps.device):
        return maps.permute(0, 2, 3, 1)[_coordinates(maps, pixel)].float(), None
    n, dim, height, width = maps.shape
    total = n * height * width
    if 3 * len(pixel) > total and maps.is_contiguous():  # so many that turning all of the map is faster
        rows = torch.empty(n, height * width, dim)
        rows.transpose(1, 2).copy_(maps.flatten(2))
        return rows.view(total, dim), pixel
    chosen, source = _distinct(pixel, total)
    return maps.permute(0, 2, 3, 1)[_coordinates(maps, chosen)].float(), source


def scatter_pixels(like: Tensor, pixel: Tensor, rows: Tensor) -> Tensor:
    """A map of zeros, like `like`, plus the rows [K, D] at pixels [K] (which may repeat)."""
    maps = torch.zeros_like(like, device=rows.device)
    if static_shapes(maps.device):
        place = _coordinates(maps, pixel)
        maps.permute(0, 2, 3, 1).index_put_(place, rows.to(maps.dtype), accumulate=True)
        return maps
    chosen, source = _distinct(pixel, maps[:, 0].numel())
    total = rows.new_zeros(len(chosen), maps.shape[1]).index_add_(0, source, rows).to(maps.dtype)
    maps.permute(0, 2, 3, 1)[_coordinates(maps, chosen)] = total
    return maps


def _distinct(pixel: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """The distinct ones of pixels [K] < total, in order, and the place among them of each of the K."""
    wanted = torch.zeros(total, dtype=torch.bool)
    wanted.index_fill_(0, pixel, True)
    chosen = torch.from_numpy(np.flatnonzero(wanted.numpy()))
    place = torch.empty(total, dtype=torch.int64)
    place.index_copy_(0, chosen, torch.arange(len(chosen)))
    return chosen, place.index_select(0, pixel)


def _coordinates(maps: Tensor, pixel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Image, y and x of pixel numbers."""
    height, width = maps.shape[2:]
    line = pixel // width
    return line // height, line % height, pixel % width
