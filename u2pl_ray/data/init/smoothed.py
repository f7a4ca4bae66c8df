"""Telling masks that were smoothed or saved with loss from masks with many or rare classes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import IGNORE
from u2pl_ray.data.init.names import Code

_ADVICE = "make the masks anew from the source they were drawn in (resize by nearest neighbour, save as PNG)"
_LEAST = 3
"""Scattered codes: 0/255 masks that were halved have three, 64, 128 and 191. One or two may be tiny classes."""
_SHARE = 0.15
"""Scattered codes among all. Masks with 150 classes and thin lines have 3 %, resized or JPEG ones 17 % and more."""
_SURELY = 64
"""So many scattered codes are no classes, whatever they cover."""


def between(values: np.ndarray) -> np.ndarray:
    """Return which pixels lie strictly between the least and the greatest value of their 3x3 neighbourhood.

    A smoothed border consists of such pixels. Where classes meet without smoothing there are none: at a border of two
    classes each pixel has one of the two values.

    Args:
        values: [h, w], or [h, w, 3] for colours, of which one channel is enough.

    Returns:
        bool [h, w].
    """
    around = np.pad(values, [(1, 1), (1, 1), *[(0, 0)] * (values.ndim - 2)], mode="edge")
    inside: np.ndarray = np.ones(values.shape, bool)
    for extreme, compare in ((np.minimum, np.less), (np.maximum, np.greater)):
        rows = extreme(extreme(around[:-2], around[1:-1]), around[2:])
        inside &= compare(extreme(extreme(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:]), values)
    return inside if values.ndim == 2 else np.any(inside, axis=2)


def refuse_many(place: Path, count: int, what: str) -> None:
    """Raise `UserError` where there are more codes than classes and one that is ignored.

    Args:
        place: what is named.
        count: of different codes.
        what: `values` or `colours`.
    """
    if count > IGNORE + 1:
        raise UserError(
            f"{place}: holds {count} different {what}, which can't all be classes (there are at most {IGNORE}); if it "
            f"was smoothed or saved with loss, {_ADVICE}"
        )


def refuse_smoothed(place: Path, pixels: Mapping[Code, int], inside: Mapping[Code, int]) -> None:
    """Raise `UserError` where a good part of the codes is found at smoothed borders alone.

    A code is scattered if more than half of its pixels are `between`. Noise has scattered codes too, but there they
    cover most of the mask.

    Args:
        place: what is named.
        pixels: of each code, over all masks.
        inside: those of them that are `between`.
    """
    scattered = sorted(
        (code for code in pixels if 2 * inside.get(code, 0) > pixels[code]), key=lambda code: -pixels[code]
    )
    cover = sum(pixels[code] for code in scattered) / max(1, sum(pixels.values()))
    if len(scattered) > _SURELY or (len(scattered) >= max(_LEAST, _SHARE * len(pixels)) and cover < 0.5):
        some = ", ".join(str(list(code) if isinstance(code, tuple) else code) for code in sorted(scattered)[:4])
        raise UserError(
            f"{place}: the masks hold {len(pixels)} different values or colours, of which {len(scattered)} are found "
            f"only at borders of others (such as {some}): they were smoothed or saved with loss; {_ADVICE}"
        )
