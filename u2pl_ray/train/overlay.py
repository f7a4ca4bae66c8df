"""Predictions as files: an overlay with a legend, and a label image, for each photograph."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import DataConfig
from u2pl_ray.data.lists import IMAGE_SUFFIXES
from u2pl_ray.data.overlay import class_colors, overlay, with_legend


def image_files(paths: Sequence[Path]) -> list[Path]:
    """The image files among `paths`, folders replaced by the images in them, in order.

    Raises:
        UserError: a path that does not exist, or a folder without images.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
            if not found:
                raise UserError(f"{path}: holds no images ({', '.join(IMAGE_SUFFIXES)})")
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise UserError(f"{path}: no such image")
    return files


def write_prediction(
    folder: Path, image: Path, pixels: np.ndarray, labels: np.ndarray, data: DataConfig, force: bool
) -> tuple[Path, Path]:
    """Write `<stem>_overlay.png` (with a legend) and `<stem>_labels.png` (class indices, with a palette).

    Args:
        folder: to write into; made if it is not there.
        image: the photograph's file.
        pixels: the photograph, as `read_image` gives it.
        labels: the predicted classes, uint8 [h, w].
        data: gives class names and colours.
        force: overwrite.

    Raises:
        UserError: a file exists already and `force` is not set, or the folder cannot be written.
    """
    targets = folder / f"{image.stem}_overlay.png", folder / f"{image.stem}_labels.png"
    for target in targets:
        if target.exists() and not force:
            raise UserError(f"{target}: exists already; choose another --output, or --force to overwrite")
    indexed = Image.fromarray(labels, mode="P")
    colors = class_colors(data)
    indexed.putpalette(colors.tobytes())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(with_legend(overlay(pixels, labels, colors), labels, data.classes, colors)).save(targets[0])
        indexed.save(targets[1])
    except OSError as error:
        raise UserError(f"--output {folder}: {error.strerror or error}") from None
    return targets
