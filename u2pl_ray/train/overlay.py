"""Predictions as files: an overlay with a legend, and a label image, for each photograph."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import DataConfig
from u2pl_ray.data.overlay import class_colors, overlay, with_legend

LABELS, OVERLAY = "_labels.png", "_overlay.png"
"""Endings of the two files."""


def refuse_existing(targets: Sequence[Path]) -> None:
    """Refuse to overwrite predictions.

    Args:
        targets: paths without the endings.

    Raises:
        UserError: names the first file that exists, and how many more do.
    """
    files = (target.with_name(target.name + ending) for target in targets for ending in (OVERLAY, LABELS))
    existing = [file for file in files if file.exists()]
    if existing:
        more = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
        raise UserError(f"{existing[0]}{more}: exists already; choose another --output, or --force to overwrite")


def write_prediction(target: Path, pixels: np.ndarray, labels: np.ndarray, data: DataConfig) -> tuple[Path, Path]:
    """Write `<target>_overlay.png` (with a legend) and `<target>_labels.png` (class indices, in colours).

    Args:
        target: path of the files without the endings; its folder is made if it is not there.
        pixels: the photograph, as `read_image` gives it.
        labels: the predicted classes, uint8 [h, w].
        data: gives class names and colours.

    Raises:
        UserError: a file cannot be written.
    """
    overlaid, indices = target.with_name(target.name + OVERLAY), target.with_name(target.name + LABELS)
    indexed = Image.fromarray(labels, mode="P")
    colors = class_colors(data)
    indexed.putpalette(colors.tobytes())
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(with_legend(overlay(pixels, labels, colors), labels, data.classes, colors)).save(overlaid)
        indexed.save(indices)
    except OSError as error:
        raise UserError(f"--output {target.parent}: {error.strerror or error}") from None
    return overlaid, indices
