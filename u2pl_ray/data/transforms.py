"""Weak augmentation and normalisation. With `crop`, all that knows albumentations (2.0.8, the last MIT release)."""

import os
import random
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from u2pl_ray.config.schema import IGNORE, DataConfig
from u2pl_ray.rng import derived_seed

# One image is too small to share over threads, and OpenCV's pool does not survive the fork of loader processes.
cv2.setNumThreads(0)

STRIDE = 32
"""Whole images are padded to a multiple of this: encoders halve the resolution five times."""


class WeakAugmentation:
    """Random scale, padding to the crop (image: mean colour, label: 255), random crop, flip, normalisation."""

    def __init__(self, data: DataConfig) -> None:
        self._data = data
        self._most = 255.0 if data.value_range is None else 1.0  # what `read_image` gives: uint8, or 0..1
        self._fill = data.mean if data.value_range else tuple(round(255.0 * value) for value in data.mean)

    @cached_property
    def _pipeline(self) -> Any:
        albumentations, data = _albumentations(), self._data
        return albumentations.Compose(
            [
                albumentations.RandomScale(
                    (data.scale[0] - 1.0, data.scale[1] - 1.0),
                    interpolation=cv2.INTER_LINEAR,
                    # the exact kind samples at pixel centres, as the linear one does: labels stay on their pixels
                    mask_interpolation=cv2.INTER_NEAREST_EXACT,
                    p=1.0,
                ),
                self._crop,
                albumentations.HorizontalFlip(p=data.flip),
            ]
        )

    @cached_property
    def _crop(self) -> Any:
        from u2pl_ray.data.crop import Crop

        return Crop(self._data.crop, self._fill, [self._data.classes.index(name) for name in self._data.rare_classes])

    @cached_property
    def _normalised(self) -> Any:
        return _albumentations().Normalize(self._data.mean, self._data.std, self._most)

    @cached_property
    def _table(self) -> np.ndarray:
        """What normalisation makes of each value of each channel, float32 [channels, 256]."""
        ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], len(self._data.mean), axis=2)
        return np.ascontiguousarray(self._normalised(image=ramp)["image"][0].T)

    def normalise(self, image: np.ndarray, out: Tensor) -> None:
        """Write the normalised image into `out`.

        Values of 8 bits go by a table straight to the planes where they belong, which takes a third of the time of
        normalising first and reordering floats.

        Args:
            image: [h, w, channels], as `crop` returns it.
            out: float32 [channels, h, w], contiguous.
        """
        planes = out.numpy()
        if image.dtype != np.uint8:
            planes[...] = self._normalised(image=image)["image"].transpose(2, 0, 1)
            return
        for plane, values, table in zip(planes, cv2.split(image), self._table, strict=True):
            cv2.LUT(values, table, plane)

    def __call__(self, image: np.ndarray, label: np.ndarray, seed: int, labeled: bool = False) -> tuple[Tensor, Tensor]:
        """Augment one image; the draws depend on `seed` alone.

        Args:
            image: [h, w, channels] as `read_image` gives it.
            label: uint8 [h, w], or [h, w, n] planes that share its fate.
            seed: of this draw.
            labeled: place a share `data.rare_crops` of the crops on rare classes.

        Returns:
            float32 [channels, crop, crop] normalised, uint8 [crop, crop] (or [crop, crop, n]).
        """
        cropped, mask = self.crop(image, label, seed, labeled)
        pixels = torch.empty(cropped.shape[2], *cropped.shape[:2])
        self.normalise(cropped, pixels)
        return pixels, torch.from_numpy(np.ascontiguousarray(mask))

    def crop(
        self, image: np.ndarray, label: np.ndarray, seed: int, labeled: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Do all of it but normalise: return image [crop, crop, channels] of its own dtype, and label.

        Args:
            image: as for `__call__`.
            label: likewise.
            seed: likewise.
            labeled: likewise.
        """
        # Not Compose.set_random_seed: it seeds every transform alike, so that scale, crop and flip would be one
        # and the same draw. One stream shared by all transforms keeps them independent.
        least = -(-1.0 // self._data.scale[0])
        if min(image.shape[:2]) < least:  # a side would be scaled to no pixel at all
            size = max(int(least), image.shape[0]), max(int(least), image.shape[1])
            image, label = _enlarged(image, size, self._fill), _enlarged(label, size, IGNORE)
        self._pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
        self._crop.draws = self._rare_draws(seed) if labeled and self._data.rare_crops else None
        out = self._pipeline(image=image, mask=label)
        return out["image"], out["mask"]

    def _rare_draws(self, seed: int) -> np.random.Generator | None:
        """Return what places a crop on a rare class, a stream of its own; None for the share that stays random."""
        draws = np.random.default_rng(derived_seed(seed, 0, "rare crop"))
        return draws if draws.random() < self._data.rare_crops else None


def normalise(image: np.ndarray, data: DataConfig) -> Tensor:
    """A whole image as the network takes it: normalised, padded at bottom and right with the mean colour (zero).

    Args:
        image: [h, w, channels], uint8 or float32 from 0 to 1 (see `read_image`).
        data: gives mean and std.

    Returns:
        float32 [channels, H, W], H and W the next multiples of `STRIDE`.
    """
    h, w = image.shape[:2]
    most = 255.0 if image.dtype == np.uint8 else 1.0
    mean = np.asarray(data.mean, np.float32) * most
    factor = 1.0 / (np.asarray(data.std, np.float32) * most)
    out = np.zeros((image.shape[2], padded(h), padded(w)), np.float32)
    out[:, :h, :w] = ((image - mean) * factor).transpose(2, 0, 1)
    return torch.from_numpy(out)


def _albumentations() -> Any:
    # Imported at first use (it takes two seconds), and without its look for a newer version on the network.
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations

    return albumentations


def _enlarged(array: np.ndarray, size: tuple[int, int], fill: Any) -> np.ndarray:
    """Return `array` [h, w, ...] at the top left of one of `size`, whose rest is `fill`."""
    out = np.empty((*size, *array.shape[2:]), array.dtype)
    out[...] = fill
    out[: array.shape[0], : array.shape[1]] = array
    return out


def pad_label(label: np.ndarray) -> Tensor:
    """A label uint8 [h, w] padded with 255 at bottom and right to multiples of `STRIDE`."""
    h, w = label.shape
    out = np.full((padded(h), padded(w)), IGNORE, np.uint8)
    out[:h, :w] = label
    return torch.from_numpy(out)


def padded(length: int) -> int:
    """The next multiple of `STRIDE`."""
    return -(-length // STRIDE) * STRIDE
