"""Images that show nearly the same: neighbouring frames of a video, copies in another size or quality.

Each image is told by its difference hash (N. Krawetz, "Kind of Like That", 2013): the bits of `left < right` in a
thumbnail of 16x17 grey values. They stay as they are under scaling, JPEG compression, and changes of brightness.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from u2pl_ray.data.at_once import read_every
from u2pl_ray.data.image_files import DECODE_ERRORS, depth_of, read_values, unreadable
from u2pl_ray.data.orientation import open_image

MOST = 5000
"""More images than this are not compared: to read them takes minutes."""
_SIDE = 16
_ALIKE = 20
"""Near-duplicates differ in at most so many of the 256 bits."""
_ROWS = 256
_EIGHT_BIT = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr")


def hashes(images: Sequence[Path]) -> np.ndarray:
    """Return the difference hashes of images, bool [n, 256].

    Raises:
        UserError: an image can't be read.
    """
    return np.array(read_every(_hash, images), bool).reshape(len(images), _SIDE * _SIDE)


def pairs(images: Sequence[Path]) -> list[tuple[int, int]]:
    """Return the places of all two images, the earlier first, that are near-duplicates of each other."""
    found = hashes(images)
    return [(first, second) for first, second in _close(found, found) if first < second]


def first_close(first: np.ndarray, second: np.ndarray) -> dict[int, int]:
    """Return the rows of `first` that are near-duplicates of one of `second`, each with that row.

    Args:
        first: hashes, bool [n, 256].
        second: hashes, bool [m, 256].
    """
    result: dict[int, int] = {}
    for row, other in _close(first, second):
        result.setdefault(row, other)
    return result


def _close(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the rows, in order, whose bits differ in at most `_ALIKE` places; bool [n, 256] and bool [m, 256]."""
    signs = np.where(second, np.float32(1.0), np.float32(-1.0))
    for start in range(0, len(first), _ROWS):
        block = np.where(first[start : start + _ROWS], np.float32(1.0), np.float32(-1.0))
        differing = (_SIDE * _SIDE - block @ signs.T) / 2.0  # the product counts equal bits less unequal ones
        rows, columns = np.nonzero(differing <= _ALIKE)
        yield from zip((rows + start).tolist(), columns.tolist(), strict=True)


def _hash(path: Path) -> np.ndarray:
    """Return bool [256]."""
    try:
        grey = _thumbnail(path)
    except DECODE_ERRORS as error:
        raise unreadable(path, error) from None
    return (grey[:, 1:] > grey[:, :-1]).ravel()


def _thumbnail(path: Path) -> np.ndarray:
    """Return [16, 17], its values on a scale of the file's own."""
    size = (_SIDE + 1, _SIDE)
    try:
        with open_image(path) as file:
            if file.mode in _EIGHT_BIT and not depth_of(file):
                file.draft("L", (8 * _SIDE, 8 * _SIDE))  # JPEGs are decoded small
                return np.asarray(file.convert("L").resize(size, Image.Resampling.BOX), dtype=np.int16)
    except Image.UnidentifiedImageError:
        pass  # with channels that Pillow does not know
    grey = np.nan_to_num(read_values(path).astype(np.float32)).mean(axis=2)
    return np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BOX))
