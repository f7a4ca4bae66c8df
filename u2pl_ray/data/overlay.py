"""Label maps as pictures: one colour per class, laid over the image, with a legend."""

from collections.abc import Sequence

import cv2
import numpy as np

from u2pl_ray.config.schema import IGNORE, DataConfig
from u2pl_ray.data.image_files import as_picture
from u2pl_ray.data.voc import palette

_ROW, _SWATCH, _MARGIN = 18, 12, 6
_BAND = 2**16
"""Pixels that are blended at a time: all of a large image would need 50 bytes each."""
NOT_BLACK = (192, 192, 192)
"""Drawn for black: a large class laid over a photograph in black looks like a broken file."""


def class_colors(data: DataConfig) -> np.ndarray:
    """Return the RGB colour of each label value in overlays and label images, uint8 [256, 3].

    They are `data.colors`, where given, and PASCAL VOC's from there on; black is replaced by `NOT_BLACK`.

    Args:
        data: gives `colors`.
    """
    colors = palette()
    if data.colors:
        colors[: len(data.colors)] = data.colors
    colors[(colors == 0).all(axis=1)] = NOT_BLACK
    return colors


def overlay(image: np.ndarray, labels: np.ndarray, colors: np.ndarray, opacity: float = 0.55) -> np.ndarray:
    """Return a picture of `image`, uint8 [h, w, 3], tinted by class; pixels labeled 255 stay as they are.

    Args:
        image: [h, w, channels] as `read_image` gives it.
        labels: uint8 [h, w].
        colors: of each label value, uint8 [256, 3].
        opacity: of the tint.
    """
    image = as_picture(image)
    tinted = image.copy()
    step = max(1, _BAND // image.shape[1])
    for start in range(0, len(image), step):
        band = slice(start, start + step)
        blended = (image[band] * (1.0 - opacity) + colors[labels[band]] * opacity).round().astype(np.uint8)
        np.copyto(tinted[band], blended, where=(labels[band] != IGNORE)[..., None])
    return tinted


def with_legend(picture: np.ndarray, labels: np.ndarray, classes: Sequence[str], colors: np.ndarray) -> np.ndarray:
    """Return `picture` with the names and colours of the classes that `labels` shows, at its right.

    Args:
        picture: uint8 [h, w, 3].
        labels: uint8 [h, w].
        classes: names in label order.
        colors: of each label value, uint8 [256, 3].
    """
    shown = [index for index in np.unique(labels).tolist() if index < len(classes)]
    longest = max(
        (cv2.getTextSize(classes[index], cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)[0][0] for index in shown), default=0
    )
    width = _SWATCH + 3 * _MARGIN + longest
    height = max(picture.shape[0], _ROW * len(shown) + _MARGIN)
    sheet = np.full((height, picture.shape[1] + width, 3), 255, np.uint8)
    sheet[: picture.shape[0], : picture.shape[1]] = picture
    left = picture.shape[1] + _MARGIN
    for row, index in enumerate(shown):
        top = _MARGIN + row * _ROW
        sheet[top : top + _SWATCH, left : left + _SWATCH] = colors[index]
        position = (left + _SWATCH + _MARGIN, top + _SWATCH - 2)
        cv2.putText(sheet, classes[index], position, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return sheet
