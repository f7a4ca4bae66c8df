"""Image files as arrays: formats, number of channels, bit depth, orientation. Errors name the file."""

import struct
import warnings
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageFile

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import DataConfig
from u2pl_ray.data.orientation import SIDEWAYS, loaded, open_image, orientation_of, tiff_orientation, turned

_PLAIN = DataConfig()
_MODES = ("RGB", "L", "P", "RGBA", "LA", "CMYK", "YCbCr", "1")
_DEEP = ("I;16", "I;16B", "I;16L", "I", "F")
_AS_IT_IS = {1: (), 2: ("LA",), 4: ("RGBA", "CMYK")}
"""Modes with so many 8-bit channels; to one channel every mode of 8 bits is brought (as luminance)."""
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
_TIFF = (".tif", ".tiff")
_MOST = 255
"""Greatest value of 8 bits."""
_WIDTH, _HEIGHT = 0x0100, 0x0101
_BITS_PER_SAMPLE = 0x0102
DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, struct.error,
    Image.DecompressionBombError, tifffile.TiffFileError,
)  # fmt: skip
"""What a damaged or foreign file makes the libraries raise."""
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # half as many pixels: large, not wrong


def read_image(path: Path, data: DataConfig = _PLAIN) -> np.ndarray:
    """Read an image [h, w, data.channels], turned upright: uint8, or with `data.value_range` float32 from 0 to 1.

    Args:
        path: the file.
        data: `channels` and `value_range` are used. For three channels, grey is repeated and alpha left out; for one,
            colours become their luminance; other numbers must be what the file has.

    Raises:
        UserError: not a readable image, or with other channels or a depth that the settings do not name.
    """
    try:
        if data.value_range is not None:
            values = read_values(path)
            if values.dtype == np.uint8 and not 1 < data.value_range[1] <= _MOST:
                raise _too_shallow(path, data.value_range)
            return turned(_scaled(_fitted(values, data.channels, path), data.value_range), path)
        if data.channels == 3 and (found := _colors(path)) is not None:
            return found
        if data.channels in _AS_IT_IS and (found := _eight_bit(path, data.channels)) is not None:
            return found
        values = read_values(path)
        if values.dtype != np.uint8:
            raise _too_deep(path, str(values.dtype))
        return turned(_fitted(values, data.channels, path), path)
    except DECODE_ERRORS as error:
        raise unreadable(path, error) from None


def read_values(path: Path) -> np.ndarray:
    """Read the values as they are in the file, not turned: [h, w, channels] of its own dtype; palettes as colours.

    Raises:
        UserError: a compression that is not supported.
        OSError, ValueError: among `DECODE_ERRORS`.
    """
    tiff = path.suffix.lower() in _TIFF
    if tiff and (values := _tiff(path)) is not None:
        return values
    try:
        with open_image(path) as file:
            if not depth_of(file):
                mode = {"P": "RGB", "1": "L", "YCbCr": "RGB", "CMYK": "RGB"}.get(file.mode, file.mode)
                values = np.array(loaded(file, upright=False).convert(mode))
                return values if values.ndim == 3 else values[..., None]
    except Image.UnidentifiedImageError:
        if not tiff:
            raise
    values = _from_opencv(path)  # Pillow keeps 8 of the 16 bits of a colour
    return turned(values, path, back=True) if tiff else values


def read_size(path: Path) -> tuple[int, int]:
    """Return (height, width) from the file's header, turned as its orientation tag says.

    Args:
        path: the file.

    Raises:
        UserError: not a readable image.
    """
    try:
        try:
            with open_image(path) as file:
                size, sides = (file.height, file.width), orientation_of(file) >= SIDEWAYS
                if file.format == "TIFF":  # of which Pillow gives the sides turned
                    size = file.getexif()[_HEIGHT], file.getexif()[_WIDTH]
        except Image.UnidentifiedImageError:
            if path.suffix.lower() not in _TIFF:
                raise
            with tifffile.TiffFile(path) as tiff:  # with channels that Pillow does not know
                axes = dict(zip(tiff.series[0].axes, tiff.series[0].shape, strict=True))
            size, sides = (axes["Y"], axes["X"]), tiff_orientation(path) >= SIDEWAYS
        return size[::-1] if sides else size
    except DECODE_ERRORS as error:
        raise unreadable(path, error) from None


def as_picture(image: np.ndarray) -> np.ndarray:
    """Return an image of any channels and depth for people to look at, uint8 [h, w, 3]: its first three channels.

    Args:
        image: as `read_image` gives it.
    """
    if image.dtype != np.uint8:
        image = (255.0 * image + 0.5).astype(np.uint8)
    if image.shape[2] >= 3:
        return image[..., :3]
    return np.repeat(image[..., :1], 3, axis=2)


def depth_of(file: ImageFile.ImageFile) -> str:
    """Return the format of an opened, not yet loaded, image that has more than 8 bits a channel; empty for others."""
    if file.mode in _DEEP:
        return file.mode
    raw = str(file.tile[0][3]) if file.tile else ""
    deep = ";16" in raw and file.format != "BMP"  # a BMP's 16 are of all its channels
    if file.format == "TIFF":  # of planes apart the raw format does not tell it
        deep = bool(np.max(file.getexif().get(_BITS_PER_SAMPLE, 8)) > 8)
    return f"{file.mode};16" if deep else ""


def unreadable(path: Path, error: Exception) -> UserError:
    """Return the one line for a file that a library could not decode.

    Args:
        path: the file.
        error: what the library raised.
    """
    if isinstance(error, Image.DecompressionBombError):
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        return UserError(f"{path}: has more than {limit} million pixels: cut it into tiles, or scale it down")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    reason = reason.replace(repr(str(path)), "").strip() or type(error).__name__
    return UserError(f"{path}: can't be read as an image ({reason}): replace it or take it out")


def _colors(path: Path) -> np.ndarray | None:
    """Return what Pillow makes of it; None for a TIFF with channels that it does not know."""
    try:
        file = open_image(path)
    except Image.UnidentifiedImageError:
        if path.suffix.lower() in _TIFF:
            return None
        raise
    with file:
        if depth := depth_of(file):
            raise _too_deep(path, depth)
        if file.mode not in _MODES:
            raise UserError(f"{path}: pixel format {file.mode} is not supported: save it as 8-bit RGB")
        picture = loaded(file, upright=True)
        return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _eight_bit(path: Path, channels: int) -> np.ndarray | None:
    """Return what Pillow makes of it; None where the format is not one of these channels."""
    try:
        with open_image(path) as file:
            if depth := depth_of(file):
                raise _too_deep(path, depth)
            if channels == 1 and file.mode in _MODES:
                return np.array(loaded(file, upright=True).convert("L"))[..., None]
            return np.array(loaded(file, upright=True)) if file.mode in _AS_IT_IS[channels] else None
    except Image.UnidentifiedImageError:
        return None


def _too_deep(path: Path, kind: str) -> UserError:
    return UserError(
        f"{path}: has more than 8 bits a channel ({kind}): if all images have, say with data.value_range=[LOW,HIGH] "
        "which values become 0 and 1, such as [0,65535] or [0,4095]; otherwise save it with 8 bits"
    )


def _too_shallow(path: Path, value_range: tuple[float, float]) -> UserError:
    low, high = value_range
    return UserError(
        f"{path}: has 8 bits a channel, but data.value_range=[{low:g},{high:g}] is of other images: it would be all "
        f"{'black' if high > _MOST else 'white'}; bring all images to one depth"
    )


def _tiff(path: Path) -> np.ndarray | None:
    """Return what tifffile makes of it; None for a compression that it leaves to another package."""
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            values, axes = series.asarray(), series.axes
    except Exception as error:  # of a damaged file, whatever its decoders raise
        if "imagecodecs" in str(error):
            return None
        raise ValueError(str(error)) from None
    places = [axes.index("Y"), axes.index("X")] if "Y" in axes and "X" in axes else [0, 1]
    values = np.moveaxis(values, places, [0, 1])
    return np.ascontiguousarray(values.reshape(*values.shape[:2], -1))


def _from_opencv(path: Path) -> np.ndarray:
    import cv2  # only here: a refused command line must not wait for it

    values = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise UserError(f"{path}: can't be read as an image; if its compression is unusual: pip install imagecodecs")
    if values.ndim == 2:
        return values[..., None]
    return np.ascontiguousarray(values[..., [2, 1, 0, *range(3, values.shape[2])]])


def _fitted(values: np.ndarray, channels: int, path: Path) -> np.ndarray:
    """Bring grey to colours and colours to grey, leave out alpha; refuse other channels."""
    if has_alpha(path, values) and channels in (1, 3):
        values = values[..., :-1]
    if values.shape[2] == channels:
        return values
    if (values.shape[2], channels) == (1, 3):
        return np.repeat(values, 3, axis=2)
    if (values.shape[2], channels) == (3, 1):
        return (values.astype(np.float32) @ _LUMINANCE)[..., None]
    found = values.shape[2]
    raise UserError(f"{path}: has {found} channels, but data.channels={channels}: set data.channels={found}")


def has_alpha(path: Path, values: np.ndarray) -> bool:
    """Tell whether the last channel is transparency: of two or four; in a TIFF only if all is opaque, in 8 bits.

    Args:
        path: the file.
        values: what `read_values` gives, [h, w, channels].
    """
    if values.shape[2] not in (2, 4):
        return False
    opaque = values.dtype == np.uint8 and bool((values[..., -1] == 255).all())
    return opaque if path.suffix.lower() in _TIFF else True


def _scaled(values: np.ndarray, value_range: tuple[float, float]) -> np.ndarray:
    """Return float32 with the range at 0..1, clipped; what is not a number is 0."""
    low, high = value_range
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(1.0 / (high - low))
    return np.nan_to_num(np.clip(scaled, 0.0, 1.0, out=scaled), copy=False, nan=0.0)
