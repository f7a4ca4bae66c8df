"""A picture sheet of a data set: images with their masks laid over them, to see at a glance whether they fit."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config, DataConfig
from u2pl_ray.data.image_files import as_picture
from u2pl_ray.data.overlay import class_colors, overlay, with_legend
from u2pl_ray.data.registry import resolve
from u2pl_ray.data.voc import Item, open_split, read_item

_EACH = 5
"""Images of each split."""
_HEIGHT, _GAP = 160, 6


def write_sheet(config: Config, path: Path) -> Path:
    """Draw some images of each split, labeled ones beside their overlay, as one picture; bad files are left out.

    Args:
        config: gives the data.
        path: the picture to write.

    Raises:
        UserError: it can't be written.
    """
    data = resolve(config).data
    rows, shown = [], np.zeros(0, np.uint8)
    for name in ("labeled", "unlabeled", "val"):
        if name == "unlabeled" and data.unlabeled is None:
            continue
        items = open_split(data, name, labels=name != "unlabeled")
        pictures, labels = _row(items[:: max(1, len(items) // _EACH)][:_EACH], data, name != "unlabeled")
        shown = np.union1d(shown, labels)
        if pictures:
            rows.append(_beside([_caption(name, pictures[0].shape[0]), *pictures]))
    if not rows:
        raise UserError("--sheet: no image of the data set can be read")
    width = max(row.shape[1] for row in rows)
    sheet = np.concatenate([np.pad(row, ((0, _GAP), (0, width - row.shape[1]), (0, 0)), "edge") for row in rows])
    sheet = with_legend(sheet, shown, data.classes, class_colors(data))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sheet).save(path)
    except (OSError, ValueError) as error:
        raise UserError(f"--sheet {path}: can't be written ({error})") from None
    return path


def _row(items: Sequence[Item], data: DataConfig, with_masks: bool) -> tuple[list[np.ndarray], np.ndarray]:
    """Return small pictures of the items, and the labels that they show."""
    pictures, shown = [], np.zeros(0, np.uint8)
    for item in items:
        try:
            image, label = read_item(item, len(data.classes), data)
        except UserError:
            continue
        size = max(1, round(image.shape[1] * _HEIGHT / image.shape[0])), _HEIGHT
        small = cv2.resize(as_picture(image), size, interpolation=cv2.INTER_AREA)
        pictures.append(small)
        if with_masks:
            tint = cv2.resize(label, size, interpolation=cv2.INTER_NEAREST)
            pictures.append(overlay(small, tint, class_colors(data)))
            shown = np.union1d(shown, tint)
    return pictures, shown


def _caption(text: str, height: int) -> np.ndarray:
    field = np.full((height, 80, 3), 255, np.uint8)
    cv2.putText(field, text, (4, height // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return field


def _beside(pictures: Sequence[np.ndarray]) -> np.ndarray:
    white = np.full((pictures[0].shape[0], _GAP, 3), 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (picture, white)], axis=1)
