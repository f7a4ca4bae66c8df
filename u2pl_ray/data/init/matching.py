"""Which mask belongs to which image: by the names of the files and of the folders around them."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from u2pl_ray.config.errors import UserError
from u2pl_ray.data.init.folders import role_and_place
from u2pl_ray.data.init.mask_names import bare, distance, end_of, image_key, is_cityscapes, stem_of
from u2pl_ray.data.voc import LABEL_SUFFIXES

_MORE = "segmentationclassaug"
"""PASCAL VOC's folder of further masks: where both hold one, that of `SegmentationClass` is the original."""
_SHOWN = 3


@dataclass(frozen=True)
class Matches:
    """Which masks belong to which images.

    Attributes:
        partner: the mask of each image that has one.
        several: the masks of images that have equally good ones in different folders; the first is the partner.
        orphans: masks without an image.
        notes: what was assumed.
    """

    partner: dict[Path, Path]
    several: dict[Path, tuple[Path, ...]]
    orphans: tuple[Path, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Choice:
    """A mask that an image may have."""

    mask: Path
    rank: tuple[int, ...]
    """Of its folder, its name's end and its format: the lowest is taken."""
    distance: int
    """Between the names."""


def match(images: Sequence[Path], masks: Sequence[Path], image_root: Path, mask_root: Path) -> Matches:
    """Find each image's mask.

    Folders decide first: the more names they share from the inside out, the better. Then the names do: the same one
    before one in another case, and that before one with another end.

    Args:
        images: image files.
        masks: mask files.
        image_root: folder whose name is the last that is compared, of images.
        mask_root: the same of masks.

    Raises:
        UserError: a mask that belongs to several images.
    """
    by_key: dict[str, list[Path]] = defaultdict(list)
    for image in images:
        by_key[image_key(stem_of(image))].append(image)
    found: dict[Path, list[_Choice]] = defaultdict(list)
    orphans = []
    for mask in masks:
        stem = stem_of(mask)
        if image_key(stem) not in by_key:
            stem = bare(stem)
        candidates = by_key.get(image_key(stem), [])
        if not candidates:
            orphans.append(mask)
            continue
        places = _places(mask, mask_root)
        scores = {image: (-_common(places, _places(image, image_root)), distance(stem, image)) for image in candidates}
        best = [image for image in candidates if scores[image] == min(scores.values())]
        if len(best) > 1:
            _refuse(mask, best)
        folder, name = scores[best[0]]
        extra = int(mask.parent.name.lower() == _MORE)
        rank = (folder, end_of(mask), LABEL_SUFFIXES.index(mask.suffix.lower()), extra)
        found[best[0]].append(_Choice(mask, rank, name))
    partner = {}
    several = {}
    spare = []
    for image, choices in found.items():
        choices.sort(key=lambda choice: (choice.rank, choice.distance, choice.mask))
        partner[image] = choices[0].mask
        equal = tuple(choice.mask for choice in choices if choice.rank == choices[0].rank)
        if len({mask.parent for mask in equal}) > 1:
            several[image] = equal
        spare += [(choice.mask, image) for choice in choices[1:] if not is_cityscapes(choice.mask)]
    notes = _elsewhere(partner, image_root, mask_root)
    if spare and not several:
        mask, image = spare[0]
        notes.append(
            f"{len(spare)} masks are not used, as their images have others (such as {shown(mask, mask_root)}: "
            f"{shown(partner[image], mask_root)} is taken)"
        )
    return Matches(partner, several, tuple(orphans), tuple(notes))


def refuse_several(image: Path, masks: Sequence[Path]) -> None:
    """Raise `UserError` that names the equally good masks of an image.

    Args:
        image: the image.
        masks: its masks.
    """
    root = Path(os.path.commonpath(masks))
    names = ", ".join(shown(mask, root) for mask in masks[:_SHOWN]) + (" ..." if len(masks) > _SHOWN else "")
    raise UserError(
        f"{image.name} has {len(masks)} masks: {names}: merge masks of single classes into one, or give one folder "
        "with --masks"
    )


def shown(file: Path, root: Path) -> str:
    """Return a file's path as people know it, from the name of the root on."""
    return str(file.relative_to(root.parent)) if file.is_relative_to(root.parent) else str(file)


def _refuse(mask: Path, images: Sequence[Path]) -> None:
    several = len({image.parent for image in images}) > 1
    advice = "put masks into folders of the same names as the images'" if several else "give it the exact name of one"
    raise UserError(f"{mask}: belongs to {len(images)} images by its name ({images[0]}, {images[1]}): {advice}")


def _elsewhere(partner: Mapping[Path, Path], image_root: Path, mask_root: Path) -> list[str]:
    """Return a note where images and masks lie in folders of different names."""
    apart = []
    for image, mask in partner.items():
        theirs = [set(_places(file, root, named=False)) for file, root in ((image, image_root), (mask, mask_root))]
        if all(theirs) and not theirs[0] & theirs[1]:
            apart.append((image, mask))
    if not apart:
        return []
    image, mask = apart[0]
    return [
        f"{len(apart)} masks are in folders of other names than their images' (such as {shown(mask, mask_root)}, of "
        f"{shown(image, image_root)}): see that they belong together"
    ]


def _places(file: Path, root: Path, named: bool = True) -> list[str]:
    """Return the folders of a file from the inside out to `root`, without what only says image or mask.

    Args:
        file: the file.
        root: a folder around it.
        named: whether the root's own name is one of them.
    """
    folders = (*((root.name,) if named else ()), *file.parent.relative_to(root).parts)
    places = (role_and_place(part)[1] for part in reversed(folders))
    return [place for place in places if place]


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    return next(
        (n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
