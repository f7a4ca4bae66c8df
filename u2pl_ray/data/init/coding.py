"""From what the masks hold to classes: the settings that read them, and what was assumed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import IGNORE
from u2pl_ray.data.init.names import Code, Names, color_name
from u2pl_ray.data.init.survey import Survey

CITYSCAPES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
_CITYSCAPES_COLORS = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30),
    (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142),
    (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip
_CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_VOID_NAMES = {"void", "ignore", "ignored", "unlabeled", "unlabelled", "unknown", "border", "boundary"}
_VOC_BORDER = (224, 224, 192)


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


@dataclass
class _Draft:
    """A coding in the making."""

    codes: list[Code]
    """Of the classes, in label order."""
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


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
        known = Names(CITYSCAPES, (), "Cityscapes")
    if cityscapes == "ids":
        draft = _cityscapes_ids(found)
    elif found.color:
        draft = _colors(found, known, ignore)
    else:
        draft = _values(found, known, ignore)
    classes = _name(draft, known, found)
    if len(draft.codes) < 2 and len(classes) < 2:
        raise UserError(
            f"the masks show {len(draft.codes)} class: at least two are needed (values found: "
            f"{', '.join(str(code) for code in list(found.pixels)[:8])})"
        )
    if len(draft.codes) > IGNORE:
        raise UserError(
            f"the masks show {len(draft.codes)} classes: at most {IGNORE} are possible; say with --ignore which value "
            "or colour has no class, or merge classes"
        )
    if classes == CITYSCAPES:
        draft.settings["colors"] = [list(rgb) for rgb in _CITYSCAPES_COLORS]
    labels = dict.fromkeys(found.pixels, IGNORE)
    labels |= {code: label for label, code in enumerate(draft.codes) if code in labels}
    if found.palette and not draft.settings.get("label_map"):
        colors = [found.palette.get(code) if isinstance(code, int) else None for code in draft.codes]
        if all(colors) and len(set(colors)) == len(colors) == len(classes):
            draft.settings["colors"] = [list(rgb) for rgb in colors if rgb]
    return Coding(classes, draft.settings, labels, tuple(draft.notes))


def _colors(found: Survey, known: Names | None, ignore: Code | None) -> _Draft:
    codes = sorted(found.pixels)
    if known and len(known.codes) == len(known.names) and isinstance(known.codes[0], tuple):
        codes = list(known.codes)
        strangers = sorted(set(found.pixels) - set(codes))
        ignored = set(strangers)
        notes = [f"colours that {known.source} does not name are ignored: {_list(strangers)}"] if strangers else []
        ignored |= {code for code in codes if code == ignore}
        ignored |= {code for code, name in zip(codes, known.names, strict=True) if name.lower() in _VOID_NAMES}
    else:
        ignored, notes = {code for code in codes if code in (ignore, _VOC_BORDER)}, []
        if ignore is None and known and len(known.names) == len(codes) - len(ignored) - 1 and (0, 0, 0) in codes:
            ignored.add((0, 0, 0))
            notes.append(f"black is ignored, as {known.source} has one name fewer than there are colours")
        elif ignore is None and (0, 0, 0) in codes and not known:
            notes.append("black is taken for a class; if it means `no label`, give --ignore 0,0,0")
        if known:
            notes.append("names are given to colours in order of red, green, blue: compare them with the list below")
    codes = [code for code in codes if code not in ignored]
    settings: dict[str, Any] = {
        "label_coding": "color",
        "colors": [list(code) for code in codes if isinstance(code, tuple)],
    }
    if ignored:
        settings["ignore_colors"] = [list(code) for code in sorted(ignored) if isinstance(code, tuple)]
    return _Draft(codes, settings, [f"masks are coded by colour: {len(codes)} colours are classes", *notes])


def _cityscapes_ids(found: Survey) -> _Draft:
    values = sorted({*range(34), *(code for code in found.pixels if isinstance(code, int))})
    places = {value: _CITYSCAPES_IDS.index(value) if value in _CITYSCAPES_IDS else IGNORE for value in values}
    note = "masks hold Cityscapes' label ids: mapped to its 19 classes, the rest is ignored"
    return _Draft(list(_CITYSCAPES_IDS), {"label_map": places}, [note])


def _values(found: Survey, known: Names | None, ignore: Code | None) -> _Draft:
    values = sorted(code for code in found.pixels if isinstance(code, int) and code != ignore)
    count = len(known.names) if known else 0
    settings: dict[str, Any] = {} if ignore in (None, IGNORE) else {"ignore_value": ignore}
    ignored = {ignore if isinstance(ignore, int) else IGNORE}
    codes = [code for code in known.codes if isinstance(code, int)] if known else []
    if known and codes and len(codes) == count:
        if codes == list(range(count)):
            return _Draft([*codes], settings)
        return _mapped(codes, set(values), settings, f"{known.source} gives the value of each class")
    plain = [value for value in values if value != IGNORE]
    if len(values) == 2 and values[1] == IGNORE and ignore is None:
        return _mapped(values, set(), settings, "masks are 0/255: 255 is class 1")
    last = plain[-1] if plain else 0
    if ignore is None and len(plain) > 2 and last > 99 and last > 2 * (plain[-2] + 1) and IGNORE not in values:
        settings["ignore_value"] = last
        plain, ignored = plain[:-1], {last}
        last = plain[-1]
        note = [f"value {settings['ignore_value']}, far above the others, is ignored"]
    else:
        note = [f"value {IGNORE} is ignored"] if IGNORE in values else []
    if plain and plain[0] >= 1 and last < 2 * len(plain) + 1 and last > len(plain) - 1 and (not count or last == count):
        settings["reduce_zero_label"] = True
        note.append("no mask has value 0: class n is value n + 1")
        return _Draft(list(range(1, last + 1)), settings, note)
    if last < min(max(2 * len(plain), count), IGNORE):
        return _Draft(list(range(max(last + 1, count))), settings, note)
    if len(plain) + 1 == count and IGNORE in values:
        plain.append(IGNORE)
    return _mapped(plain, ignored, settings, f"mask values are not in a row: mapped in order ({_list(plain)})")


def _mapped(codes: Sequence[int], others: set[int], settings: dict[str, Any], note: str) -> _Draft:
    """Give the codes classes in their order; `others` are ignored."""
    table = {code: label for label, code in enumerate(codes)}
    table |= {code: IGNORE for code in others if code not in table and code != IGNORE}
    settings["label_map"] = {code: label for code, label in sorted(table.items()) if code != label}
    return _Draft(list(codes), settings, [note])


def _name(draft: _Draft, known: Names | None, found: Survey) -> tuple[str, ...]:
    count = len(draft.codes)
    if known:
        named = known.names
        if known.codes and len(known.codes) == len(known.names):
            keep = [name for code, name in zip(known.codes, known.names, strict=True) if code in draft.codes]
            named = tuple(keep)
        if len(named) < count:
            raise UserError(
                f"{known.source} names {len(named)} classes, but the masks hold {count}: {_list(draft.codes)}; name "
                "them all (--classes a,b,c), or say which value or colour has no class (--ignore)"
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


def _list(codes: Sequence[Code]) -> str:
    shown = [str(list(code)) if isinstance(code, tuple) else str(code) for code in codes[:6]]
    return ", ".join(shown) + (" ..." if len(codes) > 6 else "")
