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
            notes.append(f"no scene could be spared for {('', 'val', 'test')[part]}: single images were drawn")
    if not (side == 1).any():
        notes.append("no image can be spared for validation: each class needs a training image")
    rows = [tuple(int(row) for row in np.flatnonzero(side == part)) for part in (0, 1, 2)]
    return Draw(rows[0], rows[1], rows[2], tuple(notes))


def _fill(side: np.ndarray, part: int, wanted: int, presence: np.ndarray, groups: np.ndarray, seed: int) -> None:
    """Move groups from training to `part` until it has `wanted` images; changes `side`."""
    order = np.random.default_rng(seed + part).permutation(np.unique(groups))
    while (have := int((side == part).sum())) < wanted:
        covered = presence[side == part].any(axis=0)
        best, best_score = None, (-1, 0.0)
        for group in order:
            rows = (groups == group) & (side == 0)
            size = int(rows.sum())
            kept = presence[(side == 0) & ~rows]
            if not size or size + have > 1.5 * wanted + 0.5 or (presence[rows].any(axis=0) & ~kept.any(axis=0)).any():
                continue
            if not len(kept):
                continue
            score = (int((presence[rows].any(axis=0) & ~covered).sum()), -abs(size + have - wanted))
            if score > best_score or best is None:
                best, best_score = rows, score
        if best is None:
            return
        side[best] = part
