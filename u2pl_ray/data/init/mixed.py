"""Masks of one set that are coded in two ways, as when two programs or people wrote them."""

from collections.abc import Sequence
from pathlib import Path

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import IGNORE
from u2pl_ray.data.init.names import Code
from u2pl_ray.data.init.survey import Survey

_NUMBERS = range(1, 32)
"""Grey that is so dark is a class number, and no colour that people would tell from black."""
_ONE_CODING = "bring them to one coding"


def mixed_codings(masks: Sequence[Path], found: Survey, ignore: Code | None) -> list[str]:
    """Return a note where masks may be coded in two ways.

    Args:
        masks: in the order that they were surveyed in.
        found: what they hold.
        ignore: the value or colour that the user says has no class.

    Raises:
        UserError: some masks have class numbers and others colours, or some are 0/255 and the rest 0/1.
    """
    values = [frozenset(_value(code) for code in codes) for codes in found.presence]
    if found.color:
        _refuse_numbers_and_colors(masks, values)
    return [] if ignore in (IGNORE, (IGNORE,) * 3) else _two_scales(masks, values)


def _value(code: Code) -> int | None:
    """Return the value of a grey code, None of a colour."""
    if isinstance(code, int):
        return code
    return code[0] if len(set(code)) == 1 else None


def _refuse_numbers_and_colors(masks: Sequence[Path], values: Sequence[frozenset[int | None]]) -> None:
    colored = [mask for mask, held in zip(masks, values, strict=True) if None in held]
    grey = {value for held in values if None in held for value in held}
    numbers = {*_NUMBERS} - grey
    numbered = [mask for mask, held in zip(masks, values, strict=True) if None not in held and held & numbers]
    if colored and numbered:
        raise UserError(
            f"{len(numbered)} masks have class numbers (such as {numbered[0].name}), {len(colored)} have colours (such "
            f"as {colored[0].name}): {_ONE_CODING}"
        )


def _two_scales(masks: Sequence[Path], values: Sequence[frozenset[int | None]]) -> list[str]:
    """Tell masks that are 0/255 beside masks with small numbers; none may hold 255 and a small number."""
    stretched = [row for row, held in enumerate(values) if held == {0, IGNORE}]
    small = [row for row, held in enumerate(values) if held & {*_NUMBERS} and held <= {0, *_NUMBERS}]
    if not stretched or not small or any(IGNORE in held and not held <= {0, IGNORE} for held in values):
        return []
    top = max(value for row in small for value in values[row] if value is not None)
    said = (
        f"{len(stretched)} masks hold 0 and 255 alone (such as {masks[stretched[0]].name}), {len(small)} hold values "
        f"up to {top} and no 255 (such as {masks[small[0]].name})"
    )
    if top == 1:
        raise UserError(f"{said}: {_ONE_CODING}, or say with --ignore 255 that 255 has no class")
    return [f"{said}: if 255 is a class there, {_ONE_CODING}"]
