"""Weak augmentation and normalisation. The one module that knows albumentations (2.0.8, the last MIT release)."""

import os
import random
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from u2pl_ray.config.schema import IGNORE, DataConfig

# One image is too small to share over threads, and OpenCV's pool does not survive the fork of loader processes.
cv2.setNumThreads(0)

STRIDE = 32
"""Whole images are padded to a multiple of this: encoders halve the resolution five times."""


class WeakAugmentation:
    """Random scale, padding to the crop (image: mean colour, label: 255), random crop, flip, normalisation."""

    def __init__(self, data: DataConfig) -> None:
        self._data = data
        self._fill = tuple(round(255.0 * value) for value in data.mean)

    @cached_property
    def _pipeline(self) -> Any:
        # Imported at first use (it takes two seconds), and without its look for a newer version on the network.
        os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
        import albumentations

        data = self._data
        return albumentations.Compose(
            [
                albumentations.RandomScale(
                    (data.scale[0] - 1.0, data.scale[1] - 1.0),
                    interpolation=cv2.INTER_LINEAR,
                    # the exact kind samples at pixel centres, as the linear one does: labels stay on their pixels
                    mask_interpolation=cv2.INTER_NEAREST_EXACT,
                    p=1.0,
                ),
                albumentations.RandomCrop(
                    data.crop,
                    data.crop,
                    pad_if_needed=True,
                    pad_position="random",
                    border_mode=cv2.BORDER_CONSTANT,
                    fill=self._fill,
                    fill_mask=IGNORE,
                ),
                albumentations.HorizontalFlip(p=data.flip),
                albumentations.Normalize(data.mean, data.std),
            ]
        )

    def __call__(self, image: np.ndarray, label: np.ndarray, seed: int) -> tuple[Tensor, Tensor]:
        """Augment one image; the draws depend on `seed` alone.

        Args:
            image: uint8 [h, w, 3], RGB.
            label: uint8 [h, w], or [h, w, n] planes that share its fate.
            seed: of this draw.

        Returns:
            float32 [3, crop, crop] normalised, uint8 [crop, crop] (or [crop, crop, n]).
        """
        # Not Compose.set_random_seed: it seeds every transform alike, so that scale, crop and flip would be one
        # and the same draw. One stream shared by all transforms keeps them independent.
        least = -(-1.0 // self._data.scale[0])
        if min(image.shape[:2]) < least:  # a side would be scaled to no pixel at all
            image, label = (
                cv2.copyMakeBorder(
                    a,
                    0,
                    max(0, int(least) - image.shape[0]),
                    0,
                    max(0, int(least) - image.shape[1]),
                    cv2.BORDER_CONSTANT,
                    value=fill,
                )
                for a, fill in ((image, self._fill), (label, (IGNORE, IGNORE, IGNORE, IGNORE)))
            )
        self._pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
        out = self._pipeline(image=image, mask=label)
        pixels = np.ascontiguousarray(out["image"].transpose(2, 0, 1))
        return torch.from_numpy(pixels), torch.from_numpy(np.ascontiguousarray(out["mask"]))


def normalise(image: np.ndarray, data: DataConfig) -> Tensor:
    """A whole image as the network takes it: normalised, padded at bottom and right with the mean colour (zero).

    Args:
        image: uint8 [h, w, 3], RGB.
        data: gives mean and std.

    Returns:
        float32 [3, H, W], H and W the next multiples of `STRIDE`.
    """
    h, w = image.shape[:2]
    mean = np.asarray(data.mean, np.float32) * 255.0
    factor = 1.0 / (np.asarray(data.std, np.float32) * 255.0)
    out = np.zeros((3, padded(h), padded(w)), np.float32)
    out[:, :h, :w] = ((image - mean) * factor).transpose(2, 0, 1)
    return torch.from_numpy(out)


def pad_label(label: np.ndarray) -> Tensor:
    """A label uint8 [h, w] padded with 255 at bottom and right to multiples of `STRIDE`."""
    h, w = label.shape
    out = np.full((padded(h), padded(w)), IGNORE, np.uint8)
    out[:h, :w] = label
    return torch.from_numpy(out)


def padded(length: int) -> int:
    """The next multiple of `STRIDE`."""
    return -(-length // STRIDE) * STRIDE
