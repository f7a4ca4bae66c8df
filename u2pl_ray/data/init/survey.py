"""Reading all masks once: which values or colours they hold, and in which images."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from u2pl_ray.config.errors import UserError
from u2pl_ray.data.at_once import read_every
from u2pl_ray.data.coding import refuse_lossy, values_of
from u2pl_ray.data.image_files import DECODE_ERRORS, read_size
from u2pl_ray.data.init.names import Code
from u2pl_ray.data.init.smoothed import between, refuse_many, refuse_smoothed
from u2pl_ray.data.orientation import open_image


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
    pixels: Mapping[Code, int]
    inside: Mapping[Code, int]
    """Pixels that are `between`."""
    palette: dict[int, tuple[int, int, int]]


def survey(pairs: Sequence[tuple[Path, Path]], more: Sequence[Path] = ()) -> Survey:
    """Read all masks, and the sizes of all images.

    Args:
        pairs: image and mask each.
        more: further images, of which at most 500 are looked at.

    Raises:
        UserError: a mask that can't be read, more values or colours than there can be classes, or masks that were
            smoothed or saved with loss.
    """
    masks = [mask for _, mask in pairs]
    images = [image for image, _ in pairs] + list(more[:: max(1, len(more) // 500)])
    seen = read_every(_look, masks)
    color = any(mask.color for mask in seen) or not _palettes_agree(seen)
    if color:
        seen = read_every(lambda path: _look(path, as_color=True), masks)
    sizes = Counter(read_every(read_size, images))
    pixels: Counter[Code] = Counter()
    inside: Counter[Code] = Counter()
    for mask in seen:
        pixels.update(mask.pixels)
        inside.update(mask.inside)
    refuse_many(masks[0].parent, len(pixels), "colours" if color else "values")
    refuse_smoothed(masks[0].parent, pixels, inside)
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
        with open_image(path) as file:
            refuse_lossy(file, path)
            raw = None if as_color else values_of(file, path)
            if raw is not None:
                palette = _palette(file) if file.mode == "P" else {}
                return _Seen(False, _counted(raw), _counted(raw[between(raw)]), palette)
            rgb = np.asarray(file.convert("RGB"))
    except DECODE_ERRORS as error:
        raise UserError(f"{path}: can't be read as a mask ({error}): replace it or take it out") from None
    wide = rgb.astype(np.int32)
    packed = (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]
    pixels = _colors(packed)
    refuse_many(path, len(pixels), "colours")
    return _Seen(True, pixels, _colors(packed[between(rgb)]), {})


def _counted(values: np.ndarray) -> dict[Code, int]:
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _colors(packed: np.ndarray) -> dict[Code, int]:
    found, counts = np.unique(packed, return_counts=True)
    colors = zip((found >> 16).tolist(), (found >> 8 & 255).tolist(), (found & 255).tolist(), strict=True)
    return dict(zip(colors, counts.tolist(), strict=True))


def _palette(file: Image.Image) -> dict[int, tuple[int, int, int]]:
    flat = file.getpalette("RGB") or []
    return {index: (flat[3 * index], flat[3 * index + 1], flat[3 * index + 2]) for index in range(len(flat) // 3)}
