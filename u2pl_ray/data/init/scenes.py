"""Which images must stay together when some are drawn for evaluation: frames of one scene, and near-duplicates."""

import re
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SCENES = 5
"""With fewer scenes by name than this, or one that holds half of the images, scenes are cut into runs of frames."""
_RUNS = 20
"""Runs of neighbouring frames that all images are cut into then."""
_SIDE = 16
_ALIKE = 20
"""Near-duplicates differ in at most so many of the 256 bits of their difference hashes."""
_THREADS = 8


@dataclass(frozen=True)
class Groups:
    """The group of each image, int64 [images], and how groups were made."""

    of: np.ndarray
    notes: tuple[str, ...]


def group(images: Sequence[Path]) -> Groups:
    """Put images into groups that stay on one side of a split.

    Images are of one scene if their names are the same up to the last number. Where that makes too few scenes, they
    are cut into runs of neighbouring frames. Groups that hold near-duplicates of each other become one.

    Args:
        images: paths of the images.
    """
    scenes, frames = zip(*(_scene(path) for path in images), strict=True)
    largest = max(scenes.count(scene) for scene in set(scenes))
    if len(set(scenes)) >= SCENES and 2 * largest <= len(images):
        numbers = {scene: number for number, scene in enumerate(dict.fromkeys(scenes))}
        of = np.array([numbers[scene] for scene in scenes])
        notes = [f"{len(numbers)} scenes by file name (the part before the last number); a scene stays on one side"]
    else:
        of = _runs(scenes, frames)
        notes = [
            f"scenes by file name: {len(set(scenes))}, too few to keep apart; cut into "
            f"{len(set(of.tolist()))} runs of neighbouring frames, which stay on one side"
        ]
    merged = _join(of, _alike(images))
    joined = len(set(of.tolist())) - len(set(merged.tolist()))
    if 2 * np.bincount(merged).max() > len(images) and joined:
        notes.append("most images look alike: near-duplicates were not kept together")
        return Groups(of, tuple(notes))
    if joined:
        notes.append(f"{joined} of these were joined with others, as they hold near-duplicates")
    return Groups(merged, tuple(notes))


def _scene(path: Path) -> tuple[str, int]:
    """Return the folder and the name before the last number, and that number."""
    found = re.match(r"^(.*?)(\d+)\D*$", path.stem)
    name, frame = (found[1], int(found[2])) if found else (path.stem, 0)
    return f"{path.parent}/{name}", frame


def _runs(scenes: Sequence[str], frames: Sequence[int]) -> np.ndarray:
    length = max(1, -(-len(scenes) // _RUNS))
    of, run, before, count = np.zeros(len(scenes), np.int64), -1, None, 0
    for row in sorted(range(len(scenes)), key=lambda row: (scenes[row], frames[row])):
        if scenes[row] != before or count == length:
            run, before, count = run + 1, scenes[row], 0
        of[row], count = run, count + 1
    return of


def _alike(images: Sequence[Path]) -> list[tuple[int, int]]:
    """Return pairs of images whose difference hashes (bits of `left < right` in a 16x17 thumbnail) hardly differ."""
    with ThreadPoolExecutor(_THREADS) as pool:
        hashes = np.array(list(pool.map(_hash, images)))
    pairs = []
    for row in range(len(hashes) - 1):
        distance = (hashes[row + 1 :] != hashes[row]).sum(axis=1)
        pairs += [(row, row + 1 + int(other)) for other in np.flatnonzero(distance <= _ALIKE)]
    return pairs


def _hash(path: Path) -> np.ndarray:
    """Return bool [256]."""
    with Image.open(path) as file:
        file.draft("L", (8 * _SIDE, 8 * _SIDE))  # JPEGs are decoded small
        grey = np.asarray(file.convert("L").resize((_SIDE + 1, _SIDE), Image.Resampling.BOX), dtype=np.int16)
    return (grey[:, 1:] > grey[:, :-1]).ravel()


def _join(of: np.ndarray, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the groups with those that `pairs` of images connect made one, numbered from 0."""
    parent = list(range(int(of.max()) + 1))

    def root(group: int) -> int:
        while parent[group] != group:
            group = parent[group]
        return group

    for first, second in pairs:
        parent[root(int(of[first]))] = root(int(of[second]))
    roots: dict[int, int] = defaultdict(lambda: len(roots))
    return np.array([roots[root(int(number))] for number in of])
