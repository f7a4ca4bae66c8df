"""A trial's pictures, ready to be laid into a page: each image once, its maps to be laid over it."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from u2pl_ray.analysis.load import Analysis
from u2pl_ray.data.voc import palette

KINDS = {
    "truth": "ground truth",
    "prediction": "student's prediction",
    "pseudo_label": "teacher's pseudo-label",
    "reliable": "reliable (green)",
}
"""Maps in the order they are shown, and what they are called."""


@dataclass
class Sample:
    """An image of the validation split or an unlabeled one.

    Attributes:
        split: val or unlabeled.
        id: the image's.
        image: as a `data:` URL.
        width, height: in pixels.
        maps: what it is called, and the translucent map as a `data:` URL.
    """

    split: str
    id: str
    image: str
    width: int
    height: int
    maps: list[tuple[str, str]] = field(default_factory=list)


def samples(analysis: Analysis, trial: str) -> tuple[int, list[Sample]]:
    """The newest epoch with pictures of a trial, and these; 0 and none if there are none (any more)."""
    folders = sorted((analysis.folder(trial) / "images").glob("epoch_*"))
    if not folders:
        return 0, []
    found = []
    for file in sorted(folders[-1].glob("*.image.jpg")):
        try:
            found.append(_sample(file))
        except OSError:  # a search goes on meanwhile, and may have thrown it away
            continue
    return int(folders[-1].name.removeprefix("epoch_")), found


def legend(analysis: Analysis) -> Iterable[tuple[str, str]]:
    """Each class and its colour in the maps, as CSS has it."""
    for name, (red, green, blue) in zip(analysis.classes, palette(), strict=False):
        yield name, f"rgb({red}, {green}, {blue})"


def _sample(file: Path) -> Sample:
    stem = file.name.removesuffix(".image.jpg")
    split, _, name = stem.split(".", 2)
    with Image.open(file) as picture:
        width, height = picture.size
    sample = Sample(split, name, _url(file, "jpeg"), width, height)
    for kind, word in KINDS.items():
        layer = file.with_name(f"{stem}.{kind}.png")
        if layer.exists():
            sample.maps.append((word, _url(layer, "png")))
    return sample


def _url(file: Path, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"
