"""A coding in the making: which codes are classes, and the settings that say so."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from u2pl_ray.config.schema import IGNORE
from u2pl_ray.data.init.names import Code

VOID_NAMES = {"void", "ignore", "ignored", "unlabeled", "unlabelled", "unknown"}
"""Names that files of class names give to what is no class."""


@dataclass
class Draft:
    """A coding in the making.

    Attributes:
        codes: of the classes, in label order.
        settings: keys of the data section that are not the default.
        notes: what was assumed.
    """

    codes: list[Code]
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def mapped(codes: Sequence[int], others: Iterable[int], settings: dict[str, Any], notes: Sequence[str]) -> Draft:
    """Return a draft that gives values classes in their order.

    Args:
        codes: values of the classes.
        others: values that are ignored.
        settings: what is set already.
        notes: what was assumed.
    """
    table = {code: label for label, code in enumerate(codes)}
    table |= {code: IGNORE for code in others if code not in table}
    changed = {code: label for code, label in sorted(table.items()) if code != label}
    return Draft(list(codes), {**settings, "label_map": changed} if changed else settings, list(notes))


def listed(codes: Sequence[Code]) -> str:
    """Return the first few codes as text."""
    shown = [str(list(code)) if isinstance(code, tuple) else str(code) for code in codes[:6]]
    return ", ".join(shown) + (" ..." if len(codes) > 6 else "")
