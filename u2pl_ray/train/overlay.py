"""Label maps as pictures: one colour per class, laid over the image, with a legend."""

from collections.abc import Sequence

import cv2
import numpy as np

from u2pl_ray.config.schema import IGNORE
from u2pl_ray.data.voc import palette

_ROW, _SWATCH, _MARGIN = 18, 12, 6


def overlay(image: np.ndarray, labels: np.ndarray, opacity: float = 0.55) -> np.ndarray:
    """`image` uint8 [h, w, 3] tinted by class (PASCAL VOC's colours); pixels labeled 255 stay as they are."""
    colours = palette()[labels]
    tinted = (image * (1.0 - opacity) + colours * opacity).round().astype(np.uint8)
    return np.where((labels == IGNORE)[..., None], image, tinted)


def with_legend(picture: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """`picture` with the names and colours of the classes that `labels` shows, at its right."""
    shown = [index for index in np.unique(labels).tolist() if index < len(classes)]
    longest = max(
        (cv2.getTextSize(classes[index], cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)[0][0] for index in shown), default=0
    )
    width = _SWATCH + 3 * _MARGIN + longest
    height = max(picture.shape[0], _ROW * len(shown) + _MARGIN)
    sheet = np.full((height, picture.shape[1] + width, 3), 255, np.uint8)
    sheet[: picture.shape[0], : picture.shape[1]] = picture
    colours = palette()
    left = picture.shape[1] + _MARGIN
    for row, index in enumerate(shown):
        top = _MARGIN + row * _ROW
        sheet[top : top + _SWATCH, left : left + _SWATCH] = colours[index]
        position = (left + _SWATCH + _MARGIN, top + _SWATCH - 2)
        cv2.putText(sheet, classes[index], position, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return sheet
