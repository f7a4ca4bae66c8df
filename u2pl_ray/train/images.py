"""A fixed handful of images as a training sees them, for people to look at: see docs/metrics.md for the files."""

import base64
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from u2pl_ray.config import metrics as names
from u2pl_ray.config.schema import IGNORE, Config
from u2pl_ray.data.image_files import as_picture
from u2pl_ray.data.overlay import class_colors
from u2pl_ray.data.transforms import normalise
from u2pl_ray.data.voc import Item, read_item
from u2pl_ray.method.maps import per_pixel
from u2pl_ray.method.reliability import most_likely
from u2pl_ray.train.prediction import logit_bands
from u2pl_ray.train.session import Metrics

INTERVALS = 4
"""Images are drawn at the ends of about so many equal parts of a training: a draw costs as much as a few steps."""

LONGEST_SIDE = 320
"""Larger images are scaled down to this, in pixels."""

_OPACITY = 140
_UNRELIABLE_RELIABLE = np.array([[214, 39, 40], [44, 160, 44]], np.uint8)


class SampleImages:
    """Draws the same images each time: some of the validation split, and some unlabeled ones, seen whole.

    Args:
        config: resolved; `tracking.images` of each kind are chosen.
        val: the validation split.
        unlabeled: the unlabeled images.
    """

    def __init__(self, config: Config, val: Sequence[Item], unlabeled: Sequence[Item]) -> None:
        self._config = config
        self._val = _spread(val, config.tracking.images)
        self._unlabeled = _spread(unlabeled, config.tracking.images)
        self._colors = class_colors(config.data)
        self._first = config.method.warmup_epochs + 1 if config.method.semi_supervised else 1

    def due(self, epochs_done: int) -> bool:
        """Whether images are drawn after this many epochs: the first with pseudo-labels, the last, some between."""
        if not self._val:
            return False
        last = self._config.train.epochs
        past, every = epochs_done - self._first, max(1, -(-(last - self._first) // INTERVALS))
        return past >= 0 and (past % every == 0 or epochs_done == last)

    @torch.inference_mode()
    def draw(
        self, student: nn.Module, teacher: nn.Module, objective: Any, metrics: Metrics, device: torch.device
    ) -> dict[str, str]:
        """The files, by name, base64: images as JPEG, maps as translucent PNGs of class indices.

        Changes nothing of the training: the student runs in eval mode and gets its mode back.

        Args:
            student: predicts the validation images.
            teacher: in eval mode; gives the pseudo-labels.
            objective: of the method; its rule says which pixels are reliable.
            metrics: the epoch's, with the mean thresholds of that rule.
            device: where the networks are.
        """
        mode = student.training
        student.eval()
        try:
            files = self._files(student, teacher, objective, metrics, device)
        finally:
            student.train(mode)
        return {name: base64.b64encode(content).decode() for name, content in files.items()}

    def _files(
        self, student: nn.Module, teacher: nn.Module, objective: Any, metrics: Metrics, device: torch.device
    ) -> dict[str, bytes]:
        files: dict[str, bytes] = {}
        for number, item in enumerate(self._val):
            pixels, truth = read_item(item, len(self._config.data.classes), self._config.data)
            parts = self._logits(student, pixels, device)
            predicted = torch.cat([per_pixel(most_likely, *part) for part in parts], 1)
            maps = {"truth": truth, "prediction": _crop(predicted, truth)}
            files |= image_files(f"val.{number}.{_plain(item.id)}", pixels, maps, self._colors)
        alpha = metrics.get("diag/alpha")
        for number, item in enumerate(() if alpha is None else self._unlabeled):
            pixels, truth = read_item(item, len(self._config.data.classes), self._config.data)
            gamma, parts = self._gamma(metrics, device), self._logits(teacher, pixels, device)
            judged = [objective.judged(*part, threshold=gamma, alpha=alpha) for part in parts]
            labels, reliable = (torch.cat(bands, 1) for bands in zip(*judged, strict=True))
            maps = {"pseudo_label": _crop(labels, truth), "reliable": _crop(reliable, truth)}
            if (truth != IGNORE).any():
                maps["truth"] = truth
            files |= image_files(f"unlabeled.{number}.{_plain(item.id)}", pixels, maps, self._colors)
        return files

    def _gamma(self, metrics: Metrics, device: torch.device) -> Tensor:
        """The epoch's mean threshold, 0-dim, or of each class [C]; 0, with nothing below, for one without pixels."""
        if not self._config.method.reliability.per_class:
            return torch.tensor(metrics["diag/gamma"], device=device)
        found = [metrics.get(names.per_class("gamma", name), 0.0) for name in self._config.data.classes]
        return torch.tensor(found, device=device)

    def _logits(
        self, network: nn.Module, pixels: np.ndarray, device: torch.device
    ) -> Iterator[tuple[Tensor, torch.Size]]:
        """The network's logits for an image, and the size they are of: small ones of the whole padded image.

        With windows, a band of rows at a time: the network may take no other size, and the memory no more.
        """
        image = normalise(pixels, self._config.data).unsqueeze(0).to(device)
        if self._config.evaluation.window is None:
            yield network(image).logits, image.shape[-2:]
            return
        height, width = pixels.shape[:2]
        for band in logit_bands(network, image[..., :height, :width], self._config.evaluation):
            yield band, band.shape[-2:]


def _spread(items: Sequence[Item], count: int) -> list[Item]:
    """`count` of the items at equal distances (all, if there are fewer)."""
    count = min(count, len(items))
    return [items[number * len(items) // count] for number in range(count)]


def _plain(image_id: str) -> str:
    """An image's id as a part of a file name."""
    return re.sub(r"[^\w-]", "_", image_id)


def _crop(found: Tensor, like: np.ndarray) -> np.ndarray:
    """A map [1,H,W] of the padded image as uint8 [h,w]."""
    return found[0, : like.shape[0], : like.shape[1]].to("cpu", torch.uint8).numpy()


def image_files(stem: str, pixels: np.ndarray, maps: dict[str, np.ndarray], colors: np.ndarray) -> dict[str, bytes]:
    """Return the image and its maps, scaled down and encoded, by file name.

    Args:
        stem: start of the file names.
        pixels: the image, as `read_image` gives it.
        maps: label maps, uint8 [h, w], by kind.
        colors: of each label value, uint8 [256, 3].
    """
    scale = min(1.0, LONGEST_SIDE / max(pixels.shape[:2]))
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    files = {f"{stem}.image.jpg": _encode(Image.fromarray(as_picture(pixels)).resize(size), "JPEG", quality=88)}
    for kind, values in maps.items():
        picture = Image.fromarray(values, mode="P").resize(size, Image.Resampling.NEAREST)
        drawn = _UNRELIABLE_RELIABLE if kind == names.IMAGE_RELIABLE else colors
        picture.putpalette(drawn.tobytes())
        opacity = bytes([_OPACITY] * IGNORE + [0])  # pixels without a label show the image alone
        files[f"{stem}.{kind}.png"] = _encode(picture, "PNG", transparency=opacity)
    return files


def _encode(picture: Image.Image, kind: str, **options: object) -> bytes:
    target = io.BytesIO()
    picture.save(target, kind, **options)
    return target.getvalue()
