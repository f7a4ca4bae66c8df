"""What the names of folders say: whether images or masks are in them, and of which part or place."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

from u2pl_ray.data.image_files import DECODE_ERRORS

_MASKS = {
    "masks", "mask", "labels", "label", "annotations", "annotation", "gt", "gtfine", "ground_truth", "groundtruth",
    "segmentationclass", "segmentationclassaug", "segmentation", "segmentations", "annot", "annots", "targets",
}  # fmt: skip
_IMAGES = {"images", "image", "imgs", "img", "photos", "jpegimages", "leftimg8bit", "rgb", "input", "inputs"}
_MASK_ENDS = (
    "_masks", "_mask", "_labels", "_label", "_annotations", "_annotation", "_annots", "_annot", "_gt", "-masks",
    "-mask", "-labels", "-label", "annot",
)  # fmt: skip
_IMAGE_ENDS = ("_images", "_image", "_imgs", "_img", "-images", "-image")
_COLORS = 64
"""More colours than this in one file: a photograph."""
_LOOKED_AT = 3


def role_and_place(name: str) -> tuple[str, str]:
    """Return what a folder holds by its name (`masks`, `images`, or empty), and the rest of the name in lower case.

    SegNet's `trainannot` gives `masks` and `train`, `masks` gives `masks` and nothing, `aachen` nothing and `aachen`.

    Args:
        name: of the folder alone.
    """
    low = name.lower()
    for role, names, ends in (("masks", _MASKS, _MASK_ENDS), ("images", _IMAGES, _IMAGE_ENDS)):
        if low in names:
            return role, ""
        for end in ends:
            if low.endswith(end) and low != end:
                return role, low.removesuffix(end)
    return "", low


def role_of(file: Path, below: Path) -> str:
    """Return what the innermost folder that says something says of a file: `masks`, `images`, or empty.

    Args:
        file: the file.
        below: names of folders from it on are read.
    """
    roles = (role_and_place(part)[0] for part in reversed(file.parent.relative_to(below).parts))
    return next((role for role in roles if role), "")


def mirrors(unlabeled: Iterable[Path], labeled: Sequence[Path]) -> list[Path]:
    """Return the folders of `unlabeled` that look like other masks of the images in a folder beside them.

    All names in such a folder are names of images beside it, and its files have few colours: the names alone would not
    do, as frames of two scenes may have the same numbers.

    Args:
        unlabeled: images without a mask.
        labeled: images with one.
    """
    images: dict[Path, set[str]] = defaultdict(set)
    files: dict[Path, list[Path]] = defaultdict(list)
    for image in unlabeled:
        files[image.parent].append(image)
    for image in (*labeled, *(image for found in files.values() for image in found)):
        images[image.parent].add(image.stem)
    used = {image.parent for image in labeled}
    beside: dict[Path, list[Path]] = defaultdict(list)
    for folder in images:
        beside[folder.parent].append(folder)
    return [
        folder
        for folder, found in files.items()
        if folder not in used
        and any(images[folder] <= images[other] for other in beside[folder.parent] if other != folder)
        and all(_few_colors(file) for file in found[:: -(-len(found) // _LOOKED_AT)])
    ]


def _few_colors(file: Path) -> bool:
    try:
        with Image.open(file) as picture:
            return picture.getcolors(_COLORS) is not None
    except DECODE_ERRORS:
        return False  # `data check` names it
