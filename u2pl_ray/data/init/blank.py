"""Masks that show nothing: exporters write them for images that nobody has annotated."""

from collections.abc import Sequence
from pathlib import Path

from u2pl_ray.config.schema import IGNORE
from u2pl_ray.data.init.coding import Coding
from u2pl_ray.data.init.survey import Survey


def blank_masks(masks: Sequence[Path], found: Survey, coding: Coding) -> list[str]:
    """Return notes on the masks that are black all over, and on those that show no class at all.

    Args:
        masks: in the order that they were surveyed in; the first of them are looked at.
        found: what they hold.
        coding: how they are read.
    """
    black = (0, 0, 0) if found.color else 0
    alone, none = list[Path](), list[Path]()
    for mask, codes in zip(masks, found.presence, strict=False):
        if all(coding.labels[code] == IGNORE for code in codes):
            none.append(mask)
        elif codes == {black}:
            alone.append(mask)
    notes = []
    if alone:
        notes.append(
            f"{len(alone)} of {len(masks)} masks show {coding.classes[coding.labels[black]]} alone (such as "
            f"{alone[0].name}): right where nothing is to be seen; if they were never annotated, remove these masks, "
            "and their images are unlabeled"
        )
    if none:
        notes.append(
            f"{len(none)} of {len(masks)} masks show no class at all (such as {none[0].name}): remove these masks, and "
            "their images are unlabeled"
        )
    return notes
