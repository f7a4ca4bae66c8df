"""Reading all masks once: which values or colours they hold, and in which images."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from u2pl_ray.config.errors import UserError
from u2pl_ray.data.at_once import read_all
from u2pl_ray.data.coding import refuse_lossy, values_of
from u2pl_ray.data.image_files import DECODE_ERRORS, read_size

Code = int | tuple[int, int, int]
"""A mask's value, or its colour."""
MOST = 256
"""More different colours than this are no classes."""


@dataclass(frozen=True)
class Survey:
    """What is in the masks.

    Attributes:
        color: whether classes are coded by colour.
        pixels: pixels of each code, over all masks.
        presence: the codes in each mask, in the order of the masks.
        palette: colour of each index, where all masks are palette masks that agree.
        sizes: (height, width) of each image that was asked for, counted.
    """

    color: bool
    pixels: dict[Code, int]
    presence: tuple[frozenset[Code], ...]
    palette: dict[int, tuple[int, int, int]]
    sizes: Counter[tuple[int, int]]


@dataclass(frozen=True)
class _Seen:
    color: bool
    pixels: dict[Code, int]
    palette: dict[int, tuple[int, int, int]]


def survey(pairs: Sequence[tuple[Path, Path]], more: Sequence[Path] = ()) -> Survey:
    """Read all masks, and the sizes of all images.

    Args:
        pairs: image and mask each.
        more: further images, of which at most 500 are looked at.

    Raises:
        UserError: a mask that can't be read, or one with more colours than there can be classes.
    """
    masks = [mask for _, mask in pairs]
    images = [image for image, _ in pairs] + list(more[:: max(1, len(more) // 500)])
    seen = read_all(_look, masks)
    color = any(mask.color for mask in seen) or not _palettes_agree(seen)
    if color:
        seen = read_all(lambda path: _look(path, as_color=True), masks)
    sizes = Counter(read_all(read_size, images))
    pixels: Counter[Code] = Counter()
    for mask in seen:
        pixels.update(mask.pixels)
    if len(pixels) > MOST and color:
        raise UserError(
            f"{masks[0].parent}: the masks hold {len(pixels)} different colours, which can't all be classes: they were "
            "smoothed or saved with loss; save them again without (nearest neighbour, PNG)"
        )
    palette = {} if color else {index: rgb for mask in seen for index, rgb in mask.palette.items() if index in pixels}
    return Survey(color, dict(pixels), tuple(frozenset(mask.pixels) for mask in seen), palette, sizes)


def _palettes_agree(seen: Sequence[_Seen]) -> bool:
    """Whether no index has two colours: programs that write a palette of their own per file number colours anew."""
    colors: dict[int, set[tuple[int, int, int]]] = defaultdict(set)
    for mask in seen:
        for index, rgb in mask.palette.items():
            if index in mask.pixels:
                colors[index].add(rgb)
    return all(len(found) == 1 for found in colors.values())


def _look(path: Path, as_color: bool = False) -> _Seen:
    try:
        with Image.open(path) as file:
            refuse_lossy(file, path)
            raw = None if as_color else values_of(file, path)
            if raw is not None:
                values, counts = np.unique(raw, return_counts=True)
                return _Seen(False, _counted(values, counts), _palette(file) if file.mode == "P" else {})
            rgb = np.asarray(file.convert("RGB")).astype(np.int32)
    except DECODE_ERRORS as error:
        raise UserError(f"{path}: can't be read as a mask ({error}): replace it or take it out") from None
    packed, counts = np.unique((rgb[..., 0] << 16) | (rgb[..., 1] << 8) | rgb[..., 2], return_counts=True)
    if len(packed) > MOST:
        raise UserError(
            f"{path}: holds {len(packed)} different colours, which can't all be classes: it was smoothed or saved with "
            "loss; save masks without (nearest neighbour, PNG)"
        )
    pixels = zip(packed.tolist(), counts.tolist(), strict=True)
    return _Seen(True, {(code >> 16, code >> 8 & 255, code & 255): count for code, count in pixels}, {})


def _counted(values: np.ndarray, counts: np.ndarray) -> dict[Code, int]:
    return {int(value): int(count) for value, count in zip(values, counts, strict=True)}


def _palette(file: Image.Image) -> dict[int, tuple[int, int, int]]:
    flat = file.getpalette("RGB") or []
    return {index: (flat[3 * index], flat[3 * index + 1], flat[3 * index + 2]) for index in range(len(flat) // 3)}
