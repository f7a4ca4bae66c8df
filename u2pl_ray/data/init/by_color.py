"""From the colours in masks to classes."""

from typing import Any

from u2pl_ray.data.init.draft import VOID_NAMES, Draft, listed
from u2pl_ray.data.init.names import Code, Names
from u2pl_ray.data.init.survey import Survey

_BORDERS = {"border", "boundary"}
_VOC_BORDER = (224, 224, 192)


def by_color(found: Survey, known: Names | None, ignore: Code | None) -> Draft:
    """Return which colours are classes.

    Args:
        found: what the masks hold.
        known: class names, if any are known.
        ignore: the colour of pixels without a class; None: to be guessed.
    """
    codes = sorted(found.pixels)
    if known and len(known.codes) == len(known.names) and isinstance(known.codes[0], tuple):
        codes = list(known.codes)
        strangers = sorted(set(found.pixels) - set(codes))
        ignored = set(strangers)
        notes = [f"colours that {known.source} does not name are ignored: {listed(strangers)}"] if strangers else []
        ignored |= {code for code in codes if code == ignore}
        for code, name in zip(codes, known.names, strict=True):
            if name.lower() in VOID_NAMES | _BORDERS:
                ignored.add(code)
                notes.append(f"{name}, {listed([code])}, is ignored by its name")
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
    return Draft(codes, settings, [f"masks are coded by colour: {len(codes)} colours are classes", *notes])
