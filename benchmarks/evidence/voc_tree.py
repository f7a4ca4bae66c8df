"""Write photographs and their masks as a VOC tree, smaller than they are: what the conversions beside this share."""

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

_IMAGES, _LABELS, _LISTS = "JPEGImages", "SegmentationClass", "ImageSets/Segmentation"


class VocTree:
    """A VOC tree that is being written; starts with its folders and classes.json.

    Args:
        root: folder to write.
        classes: names, by their value in the masks.
        share: how many times smaller photographs become in each direction.
    """

    def __init__(self, root: Path, classes: Iterable[str], share: int) -> None:
        self._root, self._share = root, share
        for folder in (_IMAGES, _LABELS, _LISTS):
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / "classes.json").write_text(json.dumps(list(classes)))

    def write_list(self, part: str, names: Iterable[str]) -> None:
        """Write which images a part of the data has."""
        (self._root / _LISTS / f"{part}.txt").write_text("".join(f"{name}\n" for name in names))

    def write_pair(self, name: str, image: Image.Image, label: np.ndarray) -> None:
        """Write a photograph, averaged over squares of pixels, and the label in the middle of each square."""
        width, height = image.width // self._share, image.height // self._share
        small = image.convert("RGB").resize((width, height), Image.Resampling.BOX)
        small.save(self._root / _IMAGES / f"{name}.jpg", quality=95, subsampling=0)
        middle = slice(self._share // 2, None, self._share)
        Image.fromarray(label[middle, middle][:height, :width]).save(self._root / _LABELS / f"{name}.png")


def main(about: str | None, write: Callable[[Path, Path], None]) -> None:
    """Read the two folders' names and convert."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="checkout of the data set")
    parser.add_argument("target", type=Path, help="folder to write")
    options = parser.parse_args()
    write(options.source, options.target)
