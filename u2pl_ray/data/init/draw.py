"""Drawing validation and test images out of the labeled ones."""

from dataclasses import dataclass

import numpy as np

SHARE = 0.2
"""Of the labeled images, for validation, and again for the test."""
_LEAST_FOR_TEST = 10
"""With fewer labeled images none is spared for a test."""


@dataclass(frozen=True)
class Draw:
    """Rows of the labeled images on each side, in order, and what was noticed."""

    train: tuple[int, ...]
    val: tuple[int, ...]
    test: tuple[int, ...]
    notes: tuple[str, ...]


def draw(presence: np.ndarray, groups: np.ndarray, seed: int, test: bool = True) -> Draw:
    """Draw val and test by whole groups, so that training keeps every class, and they show as many as they can.

    Args:
        presence: whether each labeled image shows each class, bool [images, classes].
        groups: the group of each image, int [images].
        seed: of the order in which groups are tried.
        test: draw a test part too.
    """
    count = len(presence)
    wanted = max(1, round(SHARE * count)) if count > 1 else 0
    side = np.zeros(count, np.int64)  # 0: training, 1: val, 2: test
    notes = []
    for part in (1, 2) if test and count >= _LEAST_FOR_TEST else (1,):
        before = side.copy()
        _fill(side, part, wanted, presence, groups, seed)
        if not (side == part).any():  # groups are too large, or hold all that shows a class
            side[:] = before
            _fill(side, part, wanted, presence, np.arange(count), seed)
            name = ("", "val", "test")[part]
            if (side == part).any():
                notes.append(f"no scene could be spared for {name}: single images were drawn")
            else:
                notes.append(f"no image can be spared for {name}: each class needs a training image")
    rows = [tuple(int(row) for row in np.flatnonzero(side == part)) for part in (0, 1, 2)]
    return Draw(rows[0], rows[1], rows[2], tuple(notes))


def _fill(side: np.ndarray, part: int, wanted: int, presence: np.ndarray, groups: np.ndarray, seed: int) -> None:
    """Move groups from training to `part` until it has `wanted` images; changes `side`."""
    names = np.random.default_rng(seed + part).permutation(np.unique(groups))
    member = (names[:, None] == groups) & (side == 0)  # [groups, images]
    sizes, shown = member.sum(axis=1), member.astype(np.int64) @ presence.astype(np.int64)
    free, have = sizes > 0, int((side == part).sum())
    covered, left = presence[side == part].any(axis=0), presence[side == 0].sum(axis=0)
    while have < wanted:
        loses = ((shown > 0) & (shown == left)).any(axis=1)  # a class would have no training image
        fits = free & ~loses & (sizes + have <= 1.5 * wanted + 0.5) & (sizes < (side == 0).sum())
        if not fits.any():
            return
        gain = ((shown > 0) & ~covered).sum(axis=1)
        score = np.where(fits, gain - abs(sizes + have - wanted) / (len(side) + 1.0), -np.inf)  # gain decides first
        best = int(score.argmax())
        side[member[best]] = part
        free[best], have = False, have + int(sizes[best])
        covered, left = covered | (shown[best] > 0), left - shown[best]
