"""From the values in masks of one channel to classes."""

from collections.abc import Sequence
from typing import Any

from u2pl_ray.config.schema import IGNORE
from u2pl_ray.data.init.draft import VOID_NAMES, Draft, listed, mapped
from u2pl_ray.data.init.names import Code, Names
from u2pl_ray.data.init.survey import Survey

_A_CLASS = "if it is a class, name all with --classes"
_FAR = 99
"""A value beyond it may be far above the others."""
_BORDERS = {"border", "boundary", "edge", "outline", "contour", "none", "undefined", "unannotated"}
"""Further names for what is no class, if 255 has them."""


def by_value(found: Survey, known: Names | None, ignore: Code | None) -> Draft:
    """Return which values are classes.

    Args:
        found: what the masks hold.
        known: class names, if any are known.
        ignore: the value of pixels without a class; None: to be guessed.
    """
    values = sorted(code for code in found.pixels if isinstance(code, int) and code != ignore)
    settings: dict[str, Any] = {} if ignore in (None, IGNORE) else {"ignore_value": ignore}
    if known and known.codes and all(isinstance(code, int) for code in known.codes):
        return _named(values, known, settings, ignore)
    count = len(known.names) if known else 0
    if len(values) == 2 and values[1] == IGNORE and ignore is None:
        return mapped(values, (), settings, ["masks are 0/255: 255 is class 1"])
    plain = [value for value in values if value != IGNORE]
    top = len(plain) < len(values)
    if ignore is None and count in (0, len(values)) and even(values):
        note = f"values are evenly spaced up to {IGNORE}, which is a class (else --ignore {IGNORE})"
        return mapped(values, (), settings, [note, _in_order(values)])
    notes = []
    if ignore is None and not top and len(plain) > 2 and count != len(plain) and _is_far(plain):
        settings["ignore_value"] = plain.pop()
        notes.append(f"value {settings['ignore_value']}, far above the others, is ignored; {_A_CLASS}")
    last = plain[-1] if plain else 0
    in_row = [*notes, f"value {IGNORE} is ignored"] if top else notes
    if plain and plain[0] >= 1 and len(plain) <= last <= 2 * len(plain) and (not count or last == count):
        settings["reduce_zero_label"] = True
        return Draft(list(range(1, last + 1)), settings, [*in_row, "no mask has value 0: class n is value n + 1"])
    all_named = count == len(plain) <= last  # values without a mask would have no name
    if not all_named and last < min(max(2 * len(plain), count), IGNORE):
        return Draft(list(range(max(last + 1, count))), settings, in_row)
    if top and count == len(values):
        plain = values
    elif top:
        notes.append(f"value {IGNORE} is ignored" + ("" if all_named else f"; {_A_CLASS}"))
    return mapped(plain, (), settings, [*notes, _in_order(plain)])


def _named(values: Sequence[int], known: Names, settings: dict[str, Any], ignore: Code | None) -> Draft:
    """Take the values that a file gives to its names; those without a name, and void, are ignored."""
    pairs = [(code, name) for code, name in zip(known.codes, known.names, strict=True) if isinstance(code, int)]
    codes = [code for code, name in pairs if code != ignore and not _is_void(code, name)]
    notes = [] if codes == list(range(len(codes))) else [f"{known.source} gives the value of each class"]
    notes += [f"{name}, value {code}, is ignored" for code, name in pairs if code not in codes]
    if IGNORE in codes and len(codes) > 2:
        notes.append(f"value {IGNORE} is a class, as {known.source} names it (else --ignore {IGNORE})")
    named = {code for code, _ in pairs}
    strangers = [value for value in values if value not in named and value != IGNORE]
    if strangers:
        notes.append(f"values that {known.source} does not name are ignored: {listed(strangers)}")
    others = [code for code in (*named, *strangers) if code not in codes and code != settings.get("ignore_value")]
    return mapped(codes, others, settings, notes)


def _is_void(code: int, name: str) -> bool:
    return name.lower() in VOID_NAMES or (code == IGNORE and name.lower() in _BORDERS)


def _in_order(values: Sequence[int]) -> str:
    return f"mask values are not in a row: mapped in order ({listed(values)})"


def _is_far(values: Sequence[int]) -> bool:
    return values[-1] > max(_FAR, 2 * (values[-2] + 1))


def even(values: Sequence[int]) -> bool:
    """Return whether three or more values are evenly spaced up to 255, as programs stretch class numbers for view.

    Args:
        values: in order.
    """
    if len(values) < 3 or values[-1] != IGNORE:
        return False
    step = (IGNORE - values[0]) / (len(values) - 1)
    first = min(values[0], abs(values[0] - step))  # none is missing below
    return step > 2 and first <= 1 and all(abs(values[0] + n * step - value) <= 1 for n, value in enumerate(values))
