"""From what the masks hold to classes: the settings that read them, and what was assumed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import IGNORE
from u2pl_ray.data.init import cityscapes as city
from u2pl_ray.data.init.by_color import by_color
from u2pl_ray.data.init.by_value import by_value
from u2pl_ray.data.init.draft import VOID_NAMES, Draft, listed
from u2pl_ray.data.init.names import Code, Names, color_name
from u2pl_ray.data.init.survey import Survey


@dataclass(frozen=True)
class Coding:
    """How masks are read.

    Attributes:
        classes: names in label order.
        settings: keys of the data section that are not the default.
        labels: class of each code that the masks hold; `IGNORE` where it is none.
        notes: what was assumed, for people.
    """

    classes: tuple[str, ...]
    settings: dict[str, Any]
    labels: dict[Code, int]
    notes: tuple[str, ...]

    def pixels(self, found: Survey) -> np.ndarray:
        """Return the pixels of each class over all masks, int64 [classes]."""
        counts = np.zeros(IGNORE + 1, np.int64)
        for code, number in found.pixels.items():
            counts[self.labels[code]] += number
        return counts[: len(self.classes)]

    def presence(self, found: Survey) -> np.ndarray:
        """Return whether each mask shows each class, bool [masks, classes]."""
        shown = np.zeros((len(found.presence), IGNORE + 1), bool)
        for row, codes in enumerate(found.presence):
            shown[row, [self.labels[code] for code in codes]] = True
        return shown[:, : len(self.classes)]


def coding_of(
    found: Survey, names: Names | None, given: Sequence[str] = (), cityscapes: str = "", ignore: Code | None = None
) -> Coding:
    """Return how the masks are read, from what they hold and the names that are known.

    Args:
        found: what the masks hold.
        names: class names read from a file.
        given: class names given by the user, which go before.
        cityscapes: `ids` or `trainids` where the masks are Cityscapes' by their names.
        ignore: the value or colour of pixels without a class; None: to be guessed.

    Raises:
        UserError: fewer than two classes, or fewer names than classes.
    """
    known = Names(tuple(given), (), "--classes") if given else names
    if cityscapes and not known:
        known = Names(city.NAMES, (), "Cityscapes")
    if cityscapes == "ids":
        draft = city.by_ids(found)
    elif found.color:
        draft = by_color(found, known, ignore)
    else:
        known = known if given else _without_void(known, found)
        draft = by_value(found, known, ignore)
    classes = _name(draft, known, found)
    if len(draft.codes) < 2 and len(classes) < 2:
        raise UserError(
            f"the masks show {len(draft.codes)} class: at least two are needed (values found: "
            f"{', '.join(str(code) for code in list(found.pixels)[:8])})"
        )
    if known and len(classes) > IGNORE:
        raise UserError(f"{known.source} names {len(classes)} classes: at most {IGNORE} are possible")
    if len(draft.codes) > IGNORE:
        raise UserError(
            f"the masks show {len(draft.codes)} classes: at most {IGNORE} are possible; say with --ignore which value "
            "or colour has no class, or merge classes"
        )
    if classes == city.NAMES:
        draft.settings["colors"] = [list(rgb) for rgb in city.COLORS]
    labels = dict.fromkeys(found.pixels, IGNORE)
    labels |= {code: label for label, code in enumerate(draft.codes) if code in labels}
    if found.palette and not draft.settings.get("label_map"):
        colors = [found.palette.get(code) if isinstance(code, int) else None for code in draft.codes]
        if all(colors) and len(set(colors)) == len(colors) == len(classes):
            draft.settings["colors"] = [list(rgb) for rgb in colors if rgb]
    return Coding(classes, draft.settings, labels, tuple(draft.notes))


def _without_void(known: Names | None, found: Survey) -> Names | None:
    """Return the names without a last one such as `void` where 255 is what has no class."""
    if known and not known.codes and IGNORE in found.pixels and len(known.names) - 1 not in found.pixels:
        return replace(known, names=known.names[: -1 if known.names[-1].lower() in VOID_NAMES else None])
    return known


def _name(draft: Draft, known: Names | None, found: Survey) -> tuple[str, ...]:
    count = len(draft.codes)
    if known:
        named = known.names
        if known.codes and len(known.codes) == len(known.names):
            keep = [name for code, name in zip(known.codes, known.names, strict=True) if code in draft.codes]
            named = tuple(keep)
        if len(named) < count:
            values = [code for code in draft.codes if code in found.pixels]
            up_to = "" if found.color or len(values) in (0, count) else f", up to {values[-1]}"
            other = "" if known.source == "--classes" else f"; if {known.source} is no list of these classes"
            raise UserError(
                f"{known.source} names {len(named)} classes, but the masks hold {len(values)}{up_to}: "
                f"{listed(values)}{other}; name them all (--classes a,b,c), or say which value or colour has no class "
                "(--ignore)"
            )
        draft.notes.append(f"class names are from {known.source}")
        return named
    if count == 2 and not found.color:
        draft.notes.append("no class names found: called background and foreground (others: --classes a,b)")
        return ("background", "foreground")
    draft.notes.append("no class names found: called by number or colour (others: --classes a,b,c)")
    if found.color:
        return tuple(color_name(code) for code in draft.codes if isinstance(code, tuple))
    return tuple(f"class_{label}" for label in range(count))
