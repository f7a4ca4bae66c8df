"""Label maps as pictures: one colour per class, laid over the image, with a legend."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import IGNORE
from u2pl_ray.data.voc import palette

_ROW, _SWATCH, _MARGIN = 18, 12, 6
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")


def overlay(image: np.ndarray, labels: np.ndarray, opacity: float = 0.55) -> np.ndarray:
    """`image` uint8 [h, w, 3] tinted by class (PASCAL VOC's colours); pixels labeled 255 stay as they are."""
    colours = palette()[labels]
    tinted = (image * (1.0 - opacity) + colours * opacity).round().astype(np.uint8)
    return np.where((labels == IGNORE)[..., None], image, tinted)


def with_legend(picture: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """`picture` with the names and colours of the classes that `labels` shows, at its right."""
    shown = [index for index in np.unique(labels).tolist() if index < len(classes)]
    longest = max(
        (cv2.getTextSize(classes[index], cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)[0][0] for index in shown), default=0
    )
    width = _SWATCH + 3 * _MARGIN + longest
    height = max(picture.shape[0], _ROW * len(shown) + _MARGIN)
    sheet = np.full((height, picture.shape[1] + width, 3), 255, np.uint8)
    sheet[: picture.shape[0], : picture.shape[1]] = picture
    colours = palette()
    left = picture.shape[1] + _MARGIN
    for row, index in enumerate(shown):
        top = _MARGIN + row * _ROW
        sheet[top : top + _SWATCH, left : left + _SWATCH] = colours[index]
        position = (left + _SWATCH + _MARGIN, top + _SWATCH - 2)
        cv2.putText(sheet, classes[index], position, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return sheet


def image_files(paths: Sequence[Path]) -> list[Path]:
    """The image files among `paths`, folders replaced by the images in them, in order.

    Raises:
        UserError: a path that does not exist, or a folder without images.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES)
            if not found:
                raise UserError(f"{path}: holds no images ({', '.join(_SUFFIXES)})")
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise UserError(f"{path}: no such image")
    return files


def write_prediction(
    folder: Path, image: Path, pixels: np.ndarray, labels: np.ndarray, classes: Sequence[str], force: bool
) -> tuple[Path, Path]:
    """Write `<stem>_overlay.png` (with a legend) and `<stem>_labels.png` (class indices, with a palette).

    Raises:
        UserError: a file exists already and `force` is not set, or the folder cannot be written.
    """
    targets = folder / f"{image.stem}_overlay.png", folder / f"{image.stem}_labels.png"
    for target in targets:
        if target.exists() and not force:
            raise UserError(f"{target}: exists already; choose another --output, or --force to overwrite")
    indexed = Image.fromarray(labels, mode="P")
    indexed.putpalette(palette().tobytes())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(with_legend(overlay(pixels, labels), labels, classes)).save(targets[0])
        indexed.save(targets[1])
    except OSError as error:
        raise UserError(f"--output {folder}: {error.strerror or error}") from None
    return targets
