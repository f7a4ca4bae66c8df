"""Prepare a trial's images for an HTML page: each image once, with its maps as translucent layers."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from u2pl_ray.analysis.load import Analysis
from u2pl_ray.data.overlay import class_colors

KINDS = {
    "truth": "ground truth",
    "prediction": "student's prediction",
    "pseudo_label": "teacher's pseudo-label",
    "reliable": "reliable (green)",
}
"""Kinds of maps in the order in which they are shown, with their titles."""


@dataclass
class Sample:
    """An image of the validation split or an unlabeled one, with its maps.

    Attributes:
        split: val or unlabeled.
        id: of the image.
        image: as a `data:` URL.
        width, height: in pixels.
        maps: title and translucent image of each map, the latter as a `data:` URL.
    """

    split: str
    id: str
    image: str
    width: int
    height: int
    maps: list[tuple[str, str]] = field(default_factory=list)


def samples(analysis: Analysis, trial: str) -> tuple[int, list[Sample]]:
    """Load the images of a trial's newest epoch that has some.

    Args:
        analysis: the experiment.
        trial: its id.

    Returns:
        The epoch and its images; 0 and an empty list if there are none.
    """
    folders = sorted((analysis.folder(trial) / "images").glob("epoch_*"))
    if not folders:
        return 0, []
    found = []
    for file in sorted(folders[-1].glob("*.image.jpg")):
        try:
            found.append(_sample(file))
        except OSError:  # a running search may have deleted it meanwhile
            continue
    return int(folders[-1].name.removeprefix("epoch_")), found


def legend(analysis: Analysis) -> Iterable[tuple[str, str]]:
    """Return each class and its colour in the maps, in CSS notation."""
    colors = class_colors(analysis.experiment.config.data)
    for name, (red, green, blue) in zip(analysis.classes, colors, strict=False):
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
