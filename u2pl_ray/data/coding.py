"""From the pixels of a mask file to class indices: values, colours, maps."""

import re
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import IGNORE, DataConfig

_UNKNOWN = -1
_GREY = ("L", "P", "1")
_LOSSY = ("JPEG", "MPO", "JPEG2000")
_WIDE = ("I;16", "I;16B", "I")
_STRETCH = {"2": 85, "4": 17}
"""What Pillow multiplies grey values of so few bits by, to fill 0..255."""


def decode(file: Image.Image, path: Path, data: DataConfig, num_classes: int) -> np.ndarray:
    """Return the classes of an open mask, uint8 [h, w], 255 where ignored.

    Args:
        file: the opened mask.
        path: its name, for messages.
        data: `label_coding`, `colors`, `ignore_colors`, `label_map`, `ignore_value`, `reduce_zero_label` are used.
        num_classes: values from it on are refused.

    Raises:
        UserError: a pixel format that holds no classes, a value outside the classes, a colour that is no class.
    """
    refuse_lossy(file, path)
    if data.label_coding == "color":
        return _from_colors(np.asarray(file.convert("RGB")), path, data)
    raw = values_of(file, path)
    if raw is None:
        raise UserError(
            f"{path}: a label must have one channel of class indices, this is {file.mode}: save it as a palette or "
            "8-bit grey PNG, or set data.label_coding=color and data.colors if its colours are the classes"
        )
    table = _table(tuple(sorted(data.label_map.items())), data.ignore_value, data.reduce_zero_label)
    if table is None and raw.dtype == np.uint8:
        label, wrong = raw, raw[(raw >= num_classes) & (raw != IGNORE)]
    else:
        table = _identity() if table is None else table
        values = np.minimum(raw.astype(np.int64), len(table) - 1)
        mapped = table[values]
        wrong = values[(mapped != IGNORE) & ((mapped >= num_classes) | (mapped < 0))]
        label = mapped.astype(np.uint8)
    if wrong.size:
        raise UserError(
            f"{path}: label value {int(wrong.min())} is outside the {num_classes} classes "
            f"(0..{num_classes - 1}, or {data.ignore_value} to ignore): fix the label or add the class"
            + ("; in 0/255 masks, data.label_map={255: 1} makes 255 a class" if int(wrong.min()) == IGNORE else "")
        )
    return label


def refuse_lossy(file: Image.Image, path: Path) -> None:
    """Raise `UserError` where an open mask is in a format that loses the exact classes, whatever its suffix says.

    Args:
        file: the opened mask.
        path: its name, for the message.
    """
    if file.format in _LOSSY:
        raise UserError(
            f"{path}: the mask is a {file.format}, which blurs the classes at every border: save it as PNG from the "
            "source it was drawn in (converting this file does not bring them back)"
        )


def values_of(file: Image.Image, path: Path) -> np.ndarray | None:
    """Return the values of an open mask of one channel as stored, [h, w]; None where it has several.

    Args:
        file: the opened mask, not loaded yet. Bilevel masks are 0 and 1; of palettes these are the indices.
        path: its name, for the message.

    Raises:
        UserError: a negative value.
    """
    if file.mode in _WIDE:
        wide = np.asarray(file)
        if (wide < 0).any():
            raise UserError(
                f"{path}: label value {int(wide.min())} is negative: save masks with values from 0 to 65535"
            )
        return wide
    if file.mode not in _GREY:
        return None
    tile = getattr(file, "tile", None)
    few = re.search("L;([24])", str(tile[0][3])) if tile else None
    raw = np.array(file, dtype=np.uint8)
    return raw // _STRETCH[few[1]] if few else raw


def _identity() -> np.ndarray:
    return np.arange(2**16, dtype=np.int32)


@lru_cache(maxsize=8)
def _table(label_map: tuple[tuple[int, int], ...], ignore: int, reduce_zero: bool) -> np.ndarray | None:
    """Class of every raw value, int32 [65536]; None where values are classes already."""
    if not label_map and ignore == IGNORE and not reduce_zero:
        return None
    table = _identity()
    if reduce_zero:
        table = np.where(table == IGNORE, IGNORE, table - 1)
        table[0] = IGNORE
    table[ignore] = IGNORE
    for value, label in label_map:
        table[value] = label
    return table


@lru_cache(maxsize=8)
def _color_table(colors: tuple[tuple[int, int, int], ...], ignored: tuple[tuple[int, int, int], ...]) -> np.ndarray:
    """Class of every 24-bit colour, int16 [2**24]; -1 for those that are none."""
    table = np.full(2**24, _UNKNOWN, np.int16)
    for color in ignored:
        table[_packed(np.array(color))] = IGNORE
    for label, color in enumerate(colors):
        table[_packed(np.array(color))] = label
    return table


def _packed(rgb: np.ndarray) -> np.ndarray:
    """Colours [..., 3] as one number each."""
    wide = rgb.astype(np.int32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def _from_colors(rgb: np.ndarray, path: Path, data: DataConfig) -> np.ndarray:
    packed = _packed(rgb)
    found = _color_table(data.colors, data.ignore_colors)[packed]
    unknown = packed[found == _UNKNOWN]
    if unknown.size:
        values, counts = np.unique(unknown, return_counts=True)
        worst = int(values[counts.argmax()])
        color = [worst >> 16, worst >> 8 & 255, worst & 255]
        raise UserError(
            f"{path}: {unknown.size} pixels have {len(values)} colours that are no class, most of them {color}: add it "
            "to data.colors, or to data.ignore_colors"
        )
    return found.astype(np.uint8)
