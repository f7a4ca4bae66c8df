"""Turning images as the orientation tag of EXIF or TIFF says, exactly once.

Pillow turns a TIFF itself when it loads it, other formats not. tifffile never turns. OpenCV turns TIFFs.
"""

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageFile

ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What the values of the tag ask for."""
SIDEWAYS = 5
"""From this value of the tag on, height and width change places."""
_BACK = {
    Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270,
    Image.Transpose.ROTATE_270: Image.Transpose.ROTATE_90,
}
"""Turns that are not undone by themselves."""


def open_image(path: Path) -> ImageFile.ImageFile:
    """Open an image or mask with Pillow.

    Args:
        path: the file.

    Raises:
        OSError, ValueError: as Pillow raises them.
    """
    file = Image.open(path)
    if file.format == "TIFF":
        # Pillow maps uncompressed files into memory by their turned sides, which mixes the pixels up; unnamed ones not
        file.filename = ""
    return file


def orientation_of(file: Image.Image) -> int:
    """Return the orientation tag of an opened, not yet loaded, file: 1 (upright) to 8."""
    return int(file.getexif().get(ORIENTATION, 1)) if file.format == "TIFF" or "exif" in file.info else 1


def turn_of(file: Image.Image) -> Image.Transpose | None:
    """Return how an opened image has to be turned after loading to be upright; None: not at all, as for any TIFF."""
    return None if file.format == "TIFF" else _TURNS.get(orientation_of(file))


def loaded(file: Image.Image, upright: bool) -> Image.Image:
    """Return an opened, not yet loaded, file upright or as stored.

    Args:
        file: from `open_image`.
        upright: turn it as its tag says.
    """
    turn = _TURNS.get(orientation_of(file))
    if turn is None or upright == (file.format == "TIFF"):
        return file
    return file.transpose(turn if upright else _BACK.get(turn, turn))


def turned(values: np.ndarray, path: Path, back: bool = False) -> np.ndarray:
    """Return pixels [h, w, ...] of any dtype turned as the file's tag says.

    Args:
        values: pixels as stored.
        path: the file that they are from.
        back: they are upright, and are turned to how they are stored.
    """
    turn = _TURNS.get(tag_of(path))
    match _BACK.get(turn, turn) if back and turn is not None else turn:
        case Image.Transpose.FLIP_LEFT_RIGHT:
            values = values[:, ::-1]
        case Image.Transpose.FLIP_TOP_BOTTOM:
            values = values[::-1]
        case Image.Transpose.ROTATE_180:
            values = values[::-1, ::-1]
        case Image.Transpose.TRANSPOSE:
            values = values.swapaxes(0, 1)
        case Image.Transpose.TRANSVERSE:
            values = values[::-1, ::-1].swapaxes(0, 1)
        case Image.Transpose.ROTATE_90:
            values = np.rot90(values)
        case Image.Transpose.ROTATE_270:
            values = np.rot90(values, -1)
    return np.ascontiguousarray(values)


def tag_of(path: Path) -> int:
    """Read the orientation tag of a file: 1 (upright) to 8."""
    try:
        with Image.open(path) as file:
            return orientation_of(file)
    except Image.UnidentifiedImageError:
        return tiff_orientation(path)


def tiff_orientation(path: Path) -> int:
    """Return the orientation tag of a TIFF that Pillow does not know; 1 for what is no TIFF."""
    try:
        with tifffile.TiffFile(path) as tiff:
            tag = tiff.pages.first.tags.get(ORIENTATION)
            return 1 if tag is None else int(tag.value)
    except tifffile.TiffFileError:
        return 1
