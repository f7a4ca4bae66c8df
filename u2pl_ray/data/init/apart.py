"""Keeping unlabeled images of what is evaluated out of training."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from u2pl_ray.data import near_duplicates
from u2pl_ray.data.init.parts import Parts
from u2pl_ray.data.init.scenes import scene_of


def set_apart(parts: Parts, scenes: bool, given: bool) -> tuple[Parts, list[str]]:
    """Return the parts without the unlabeled images that show what val or test show, and notes.

    Args:
        parts: with val and test drawn.
        scenes: the names of images tell scenes: those of val and test of which nothing is labeled are left out whole.
        given: the list of unlabeled images is the user's own: it stays as it is, and the number is said.
    """
    held = [image for image, _ in (*(parts.val or ()), *(parts.test or ()))]
    unlabeled, notes = list(parts.unlabeled), list[str]()
    if not held or not unlabeled:
        return parts, []
    if scenes and not given:
        unlabeled, notes = _without_scenes(unlabeled, held, [image for image, _ in parts.labeled])
    if len(unlabeled) + len(held) > near_duplicates.MOST:
        return replace(parts, unlabeled=tuple(unlabeled)), [
            *notes,
            f"more than {near_duplicates.MOST} images: the unlabeled ones were not searched for near-duplicates of val "
            "and test",
        ]
    copies = near_duplicates.first_close(near_duplicates.hashes(unlabeled), near_duplicates.hashes(held))
    if copies:
        first, other = next(iter(copies.items()))
        example = f"(such as {unlabeled[first].name}, like {held[other].name})"
        number = f"{len(copies)} unlabeled images are near-duplicates of val or test images {example}"
        if given:
            notes.append(f"{number}: scores will be too good; they stay, as the list is yours")
        elif 2 * len(copies) > len(unlabeled):
            notes.append(f"{number}, which is most of them: they look alike, and stay")
        else:
            notes.append(f"{number}: not used, or scores would be too good")
            unlabeled = [image for row, image in enumerate(unlabeled) if row not in copies]
    return replace(parts, unlabeled=tuple(unlabeled)), notes


def _without_scenes(
    unlabeled: list[Path], held: Sequence[Path], labeled: Sequence[Path]
) -> tuple[list[Path], list[str]]:
    """Return the unlabeled images that are of no scene of `held` alone; all of them if fewer than half would be."""
    alone = {scene_of(image)[0] for image in held} - {scene_of(image)[0] for image in labeled}
    rest = [image for image in unlabeled if scene_of(image)[0] not in alone]
    lost = len(unlabeled) - len(rest)
    if lost and 2 * len(rest) < len(unlabeled):
        return unlabeled, [f"{lost} unlabeled images are of scenes in val or test: they stay, as they are most of them"]
    return rest, [f"{lost} unlabeled images are of scenes in val or test: not used"] if lost else []
