"""Photographs to segment: which there are, where their predictions go, and what a network says of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.evaluation import EvaluationConfig
from u2pl_ray.data.image_files import read_image
from u2pl_ray.data.lists import IMAGE_SUFFIXES, walk
from u2pl_ray.data.transforms import normalise
from u2pl_ray.train.inference import Trained, enough_memory
from u2pl_ray.train.prediction import predict

LARGE = 2048 * 2048
"""Pixels, at the largest scale, beyond which an image is predicted by windows even if none are asked for."""
TILE = 1024
"""Side of these windows, in pixels."""


@dataclass(frozen=True)
class Photograph:
    """An image file, and where the files of its prediction go: their path without `_overlay.png`."""

    path: Path
    target: Path


def find_photographs(paths: Sequence[Path], output: Path) -> list[Photograph]:
    """Find the images among `paths` and in the folders there, with all folders below them, in order.

    Args:
        paths: image files, and folders; what lies in a folder keeps its place below `output`.
        output: folder for the predictions; not searched.

    Raises:
        UserError: a path that does not exist, a folder without images or that is `output`, or two images with one
            target.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if path.is_dir():
            if path.resolve() == output.resolve():
                raise UserError(
                    f"--output {output}: holds the images themselves, and a later run would take the predictions for "
                    "images: name another folder, which may lie in it"
                )
            files = [(file, file.relative_to(path)) for file in _images_below(path, output)]
            if not files:
                raise UserError(f"{path}: holds no images ({', '.join(IMAGE_SUFFIXES)})")
        elif path.is_file():
            files = [(path, Path(path.name))]
        else:
            raise UserError(f"{path}: no such image")
        for file, place in files:
            target = output / place.with_suffix("")
            other = found.setdefault(target, file)
            if other != file:
                raise UserError(
                    f"{other} and {file} would both be written to {target}_overlay.png: predict them one after the "
                    "other, with an --output each"
                )
    return [Photograph(file, target) for target, file in found.items()]


def _images_below(folder: Path, output: Path) -> list[Path]:
    files = (Path(place, name) for place, names in walk(folder, output) for name in names)
    return [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]


def predict_photograph(
    trained: Trained, network: str, path: Path, views: EvaluationConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of an image (see `read_image`), and the class of each, uint8 [h, w].

    Args:
        trained: the networks.
        network: student or teacher.
        path: the image.
        views: how it is seen; an image larger than `LARGE` is seen by windows in any case.

    Raises:
        UserError: the image can't be read, or is too large for the memory.
    """
    pixels = read_image(path, trained.config.data)
    height, width = pixels.shape[:2]
    with enough_memory(f"{path}: {width} x {height} pixels are", "give a smaller --window"):
        images = normalise(pixels, trained.config.data).unsqueeze(0).to(trained.device)
        found = predict(trained.networks[network], images, (height, width), views_for(height, width, views))
        return pixels, found[0].cpu().numpy()


def views_for(height: int, width: int, views: EvaluationConfig) -> EvaluationConfig:
    """Return how an image of this size is seen: as asked, but by windows of `TILE` pixels if it is a large one.

    Args:
        height: of the image.
        width: of the image.
        views: what was asked for.
    """
    if views.window is not None or height * width * max(views.scales) ** 2 <= LARGE:
        return views
    return views.model_copy(update={"window": TILE})
