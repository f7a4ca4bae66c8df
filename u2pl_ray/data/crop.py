"""Random crops, and crops on rare classes, of images of any number of channels.

Imports albumentations: import it where it is used.
"""

from collections.abc import Sequence
from typing import Any

import albumentations
import cv2
import numpy as np

from u2pl_ray.config.schema import IGNORE

_SCALARS = 4
"""Channels that OpenCV can pad with a colour."""


class Crop(albumentations.RandomCrop):
    """A random square crop; smaller images are padded around a random place.

    Where `draws` is set, the next crop holds a pixel of a rare class, if the image shows one. As in nnU-Net (Isensee et
    al., Nature Methods 18, 2021), one of the rare classes in the image is drawn, then one of its pixels; unlike there,
    the pixel may be anywhere in the crop, not only in its middle.

    Args:
        side: of the crop, in pixels.
        fill: of padded pixels, for each channel.
        rare: labels of the rare classes.
    """

    def __init__(self, side: int, fill: tuple[float, ...], rare: Sequence[int] = ()) -> None:
        border = {"border_mode": cv2.BORDER_CONSTANT, "fill": fill, "fill_mask": IGNORE}
        super().__init__(side, side, pad_if_needed=True, pad_position="random", **border)
        self._rare = np.array(rare, np.int64)
        self.draws: np.random.Generator | None = None
        """Places the next crop on a rare class; None: it is random."""

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Return where to pad and to crop. The random crop is drawn always, so that later draws are the same."""
        found: dict[str, Any] = super().get_params_dependent_on_data(params, data)
        if self.draws is None or (pixel := _pixel(data["mask"], self._rare, self.draws)) is None:
            return found
        pad = found["pad_params"] or dict.fromkeys(("pad_top", "pad_bottom", "pad_left", "pad_right"), 0)
        height, width = params["shape"][:2]
        top = self._start(pixel[0] + pad["pad_top"], height + pad["pad_top"] + pad["pad_bottom"])
        left = self._start(pixel[1] + pad["pad_left"], width + pad["pad_left"] + pad["pad_right"])
        return {**found, "crop_coords": (left, top, left + self.width, top + self.height)}

    def _start(self, pixel: int, length: int) -> int:
        """Draw where along one axis the crop begins, among all places at which it holds the pixel."""
        assert self.draws is not None
        return int(self.draws.integers(max(0, pixel - self.width + 1), min(pixel, length - self.width) + 1))

    def apply(self, img: np.ndarray, crop_coords: tuple[int, int, int, int], **params: Any) -> np.ndarray:
        """Pad and crop an image [h, w, channels]."""
        pad = params.get("pad_params")
        if pad is not None and img.ndim == 3 and img.shape[2] > _SCALARS:
            (h, w, channels), (top, left) = img.shape, (pad["pad_top"], pad["pad_left"])
            padded = np.empty((h + top + pad["pad_bottom"], w + left + pad["pad_right"], channels), img.dtype)
            padded[...] = self.fill
            padded[top : top + h, left : left + w] = img
            img, params = padded, {**params, "pad_params": None}
        cropped: np.ndarray = super().apply(img, crop_coords, **params)
        return cropped


def _pixel(mask: np.ndarray, rare: np.ndarray, draws: np.random.Generator) -> tuple[int, int] | None:
    """Draw one of the rare classes that a mask (uint8 [h, w], or [h, w, n] with labels first) shows, and a pixel."""
    counts = cv2.calcHist([mask], [0], None, [IGNORE + 1], [0, IGNORE + 1]).ravel()
    shown = rare[counts[rare] > 0]
    if not len(shown):
        return None
    labels = mask if mask.ndim == 2 else mask[..., 0]
    rows, columns = np.nonzero(labels == draws.choice(shown))
    place = draws.integers(len(rows))
    return int(rows[place]), int(columns[place])
