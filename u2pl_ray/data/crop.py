"""Random crops for images of any number of channels. Imports albumentations: import it where it is used."""

from typing import Any

import albumentations
import cv2
import numpy as np

from u2pl_ray.config.schema import IGNORE

_SCALARS = 4
"""Channels that OpenCV can pad with a colour."""


class Crop(albumentations.RandomCrop):
    """A random square crop; smaller images are padded around a random place.

    Args:
        side: of the crop, in pixels.
        fill: of padded pixels, for each channel.
    """

    def __init__(self, side: int, fill: tuple[float, ...]) -> None:
        border = {"border_mode": cv2.BORDER_CONSTANT, "fill": fill, "fill_mask": IGNORE}
        super().__init__(side, side, pad_if_needed=True, pad_position="random", **border)

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
