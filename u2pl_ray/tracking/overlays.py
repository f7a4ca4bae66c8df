"""Turn a trial's image files into W&B images with segmentation masks that can be switched on and off."""

import glob
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from u2pl_ray.config.metrics import IMAGE_RELIABLE

_NO_CLASS = 255
"""Value of a map outside its image."""


def labels_of(kind: str, classes: Sequence[str]) -> dict[int, str]:
    """Return the meaning of each value of a map.

    Args:
        kind: truth, prediction, pseudo_label or reliable.
        classes: Names in label order.
    """
    return dict(enumerate(("unreliable", "reliable") if kind == IMAGE_RELIABLE else classes))


def image_with_maps(
    picture: Path, caption: str, maps: Mapping[str, Path], classes: Sequence[str], size: tuple[int, int] | None = None
) -> Any:
    """Build a `wandb.Image` with its segmentation masks.

    Args:
        picture: The image's file.
        caption: What is written under it.
        maps: Files of class indices by kind: truth, prediction, pseudo_label, reliable.
        classes: Names in label order.
        size: Width and height to which image and maps are filled up on the right and below; None: as they are.
    """
    import wandb

    masks = {
        kind: {
            "mask_data": np.asarray(_filled(Image.open(path), size, _NO_CLASS)),
            "class_labels": labels_of(kind, classes),
        }
        for kind, path in maps.items()
    }
    if size is None:
        return wandb.Image(str(picture), caption=caption, masks=masks or None)
    return wandb.Image(_filled(Image.open(picture).convert("RGB"), size, 0), caption=caption, masks=masks or None)


def overlays(folder: Path, classes: Sequence[str]) -> dict[str, list[Any]]:
    """Build an epoch's `wandb.Image`s by split, from files named `<split>.<number>.<image id>.<kind>.<suffix>`.

    Args:
        folder: Where they are; see docs/metrics.md. An image with a missing or damaged file is left out.
        classes: Names in label order.
    """
    found: dict[str, list[tuple[Path, str, dict[str, Path]]]] = {}
    for picture in sorted(folder.glob("*.image.*"), key=lambda path: (path.name.split(".")[0], _number(path))):
        stem = picture.name.rpartition(".image.")[0]
        files = sorted(folder.glob(f"{glob.escape(stem)}.*.png"))
        maps = {path.name.split(".")[-2]: path for path in files if path != picture}
        split, _, image_id = stem.split(".", 2)
        found.setdefault(split, []).append((picture, image_id, maps))
    return {split: built for split, parts in found.items() if (built := _alike(parts, classes))}


def _alike(parts: Sequence[tuple[Path, str, Mapping[str, Path]]], classes: Sequence[str]) -> list[Any]:
    """Build the images of a split, filled up to one size where they differ: W&B draws all in that of the first."""
    sizes: dict[Path, tuple[int, int]] = {}
    for picture, *_ in parts:
        with suppress(OSError), Image.open(picture) as opened:
            sizes[picture] = opened.size
    same = len(set(sizes.values())) < 2
    largest = None if same else (max(size[0] for size in sizes.values()), max(size[1] for size in sizes.values()))
    built = []
    for picture, image_id, maps in parts:
        with suppress(OSError, ValueError):
            built.append(image_with_maps(picture, image_id, maps, classes, largest))
    return built


def _filled(image: Image.Image, size: tuple[int, int] | None, value: int) -> Image.Image:
    if size is None or image.size == size:
        return image
    target = Image.new(image.mode, size, value)
    target.paste(image)
    return target


def _number(path: Path) -> int:
    part = path.name.split(".")[1]
    return int(part) if part.isdecimal() else 0
