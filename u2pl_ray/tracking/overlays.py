"""Turn a trial's image files into W&B images with segmentation masks that can be switched on and off."""

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from u2pl_ray.config.metrics import IMAGE_RELIABLE


def labels_of(kind: str, classes: Sequence[str]) -> dict[int, str]:
    """Return the meaning of each value of a map.

    Args:
        kind: truth, prediction, pseudo_label or reliable.
        classes: Names in label order.
    """
    return dict(enumerate(("unreliable", "reliable") if kind == IMAGE_RELIABLE else classes))


def image_with_maps(picture: Path, caption: str, maps: Mapping[str, Path], classes: Sequence[str]) -> Any:
    """Build a `wandb.Image` with its segmentation masks.

    Args:
        picture: The image's file.
        caption: What is written under it.
        maps: Files of class indices by kind: truth, prediction, pseudo_label, reliable.
        classes: Names in label order.
    """
    import wandb

    masks = {
        kind: {"mask_data": np.asarray(Image.open(path)), "class_labels": labels_of(kind, classes)}
        for kind, path in maps.items()
    }
    return wandb.Image(str(picture), caption=caption, masks=masks or None)


def overlays(folder: Path, classes: Sequence[str]) -> dict[str, list[Any]]:
    """Build an epoch's `wandb.Image`s by split, from files named `<split>.<number>.<image id>.<kind>.<suffix>`.

    Args:
        folder: Where they are; see docs/metrics.md. An image with a missing or damaged file is left out.
        classes: Names in label order.
    """
    found: dict[str, list[Any]] = {}
    for picture in sorted(folder.glob("*.image.*"), key=lambda path: (path.name.split(".")[0], _number(path))):
        stem = picture.name.rpartition(".image.")[0]
        maps = {path.name.split(".")[-2]: path for path in sorted(folder.glob(f"{glob.escape(stem)}.*.png"))}
        split, _, image_id = stem.split(".", 2)
        try:
            found.setdefault(split, []).append(image_with_maps(picture, image_id, maps, classes))
        except (OSError, ValueError):
            continue
    return found


def _number(path: Path) -> int:
    part = path.name.split(".")[1]
    return int(part) if part.isdecimal() else 0
