"""Whether masks were drawn on upright or on stored pixels, where images have an orientation tag and masks have none."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import DataConfig
from u2pl_ray.data.at_once import read_all
from u2pl_ray.data.image_files import DECODE_ERRORS, read_size
from u2pl_ray.data.orientation import SIDEWAYS, tag_of
from u2pl_ray.data.voc import Item

Pair = tuple[Path, Path]
Drawn = Literal["upright", "stored", "unclear"]


@dataclass(frozen=True)
class Turned:
    """What the sizes of images and masks tell.

    Attributes:
        counts: of images that have to be turned, by what their masks were drawn on.
        example: the first image of which the sizes do not tell it.
    """

    counts: Counter[Drawn]
    example: Path | None

    @property
    def agreed(self) -> Literal["upright", "stored"] | None:
        """What all masks that tell it were drawn on; None: none tells it, or they differ."""
        if bool(self.counts["upright"]) == bool(self.counts["stored"]):
            return None
        return "upright" if self.counts["upright"] else "stored"


def look(pairs: Iterable[Pair]) -> Turned:
    """Look at the headers of images and masks; what can't be read is passed over.

    Args:
        pairs: image and mask each.
    """
    pairs = list(pairs)
    found = read_all(_drawn, pairs)
    example = next((image for (image, _), drawn in zip(pairs, found, strict=True) if drawn == "unclear"), None)
    return Turned(Counter(drawn for drawn in found if drawn is not None), example)


def setting(pairs: Iterable[Pair]) -> tuple[dict[str, str], list[str]]:
    """Return `label_orientation` where some masks tell it and others do not, and a note; empty where nothing is asked.

    Args:
        pairs: image and mask each.
    """
    turned = look(pairs)
    if turned.example is None or turned.agreed is None:
        return {}, []
    told = turned.counts[turned.agreed]
    return {"label_orientation": turned.agreed}, [
        f"masks are drawn on {turned.agreed} pixels, as the sizes of {told} tell: so are those of "
        f"{turned.counts['unclear']} images that keep their size when turned (such as {turned.example.name})"
    ]


def warnings_of(items: Iterable[Item], data: DataConfig) -> list[str]:
    """Return a warning where sizes do not tell what a mask was drawn on, and the settings neither.

    Args:
        items: images with and without masks.
        data: its `label_orientation`.
    """
    if data.label_orientation is not None:
        return []
    turned = look((item.image, item.label) for item in items if item.label is not None)
    if turned.example is None:
        return []
    told = turned.counts["stored"]
    others = f", but {told} other masks fit the pixels as stored alone" if told else ""
    return [
        f"{turned.counts['unclear']} images with masks (such as {turned.example.name}) are turned by their orientation "
        f"tag and keep their size, so that nothing tells whether their masks were drawn on the upright or on the "
        f"stored pixels: taken as upright{others}; look at some (u2pl-ray data sheet), and set "
        "data.label_orientation=upright or stored"
    ]


def _drawn(pair: Pair) -> Drawn | None:
    """Return what a mask was drawn on; None where there is no tag to ask, or the mask has one of its own."""
    image, mask = pair
    try:
        if (tag := tag_of(image)) == 1 or tag_of(mask) != 1:
            return None
        height, width = read_size(image)
        label = read_size(mask)
    except (UserError, *DECODE_ERRORS):
        return None
    if tag < SIDEWAYS or height == width:
        return "unclear"
    return "upright" if label == (height, width) else "stored" if label == (width, height) else None
