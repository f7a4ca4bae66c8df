"""Which images must stay together when some are drawn for evaluation: frames of one scene, and near-duplicates."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from u2pl_ray.data import near_duplicates

SCENES = 5
"""With fewer scenes by name than this, or one that holds half of the images, scenes are cut into runs of frames."""
_RUNS = 20
"""Runs of neighbouring frames that all images are cut into then."""


@dataclass(frozen=True)
class Groups:
    """Which images stay together.

    Attributes:
        of: the group of each image, int64 [images].
        scenes: whether these are the scenes that the images' names tell.
        notes: how groups were made.
    """

    of: np.ndarray
    scenes: bool
    notes: tuple[str, ...]


def group(images: Sequence[Path]) -> Groups:
    """Put images into groups that stay on one side of a split.

    Images are of one scene if their names are the same up to the last number. Where that makes too few scenes, they
    are cut into runs of neighbouring frames. Groups that hold near-duplicates of each other become one.

    Args:
        images: paths of the images.
    """
    scenes, frames = zip(*(scene_of(path) for path in images), strict=True)
    largest = Counter(scenes).most_common(1)[0][1]
    by_name = len(set(scenes)) >= SCENES and 2 * largest <= len(images)
    if by_name:
        numbers = {scene: number for number, scene in enumerate(dict.fromkeys(scenes))}
        of = np.array([numbers[scene] for scene in scenes])
        notes = [f"{len(numbers)} scenes by file name (the part before the last number); a scene stays on one side"]
    else:
        of = _runs(scenes, frames)
        runs, few = len(set(of.tolist())), f"scenes by file name: {len(set(scenes))}, too few to keep apart"
        notes = [
            f"{few}; cut into {runs} runs of neighbouring frames, which stay on one side"
            if runs < len(images)
            else f"{few}: each image is taken by itself; if these are frames of one video, val is flattered"
        ]
    merged = _join(of, near_duplicates.pairs(images))
    joined = len(set(of.tolist())) - len(set(merged.tolist()))
    if 2 * np.bincount(merged).max() > len(images) and joined:
        notes.append("most images look alike: near-duplicates were not kept together")
        return Groups(of, by_name, tuple(notes))
    if joined:
        notes.append(f"{joined} of these were joined with others, as they hold near-duplicates")
    return Groups(merged, by_name, tuple(notes))


def scene_of(path: Path) -> tuple[str, int]:
    """Return an image's scene (its folder, and its name before the last number in lower case) and that number."""
    stem = re.sub(r"(_leftimg8bit|\s*\(\d+\))$", "", path.stem.lower())  # Cityscapes' 8 and a copy's (1) are no frames
    found = re.match(r"^(.*?)(\d+)\D*$", stem)
    name, frame = (found[1], int(found[2])) if found else (stem, 0)
    return f"{path.parent}/{name}", frame


def _runs(scenes: Sequence[str], frames: Sequence[int]) -> np.ndarray:
    length = max(1, -(-len(scenes) // _RUNS))
    of, run, before, count = np.zeros(len(scenes), np.int64), -1, None, 0
    for row in sorted(range(len(scenes)), key=lambda row: (scenes[row], frames[row])):
        if scenes[row] != before or count == length:
            run, before, count = run + 1, scenes[row], 0
        of[row], count = run, count + 1
    return of


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
