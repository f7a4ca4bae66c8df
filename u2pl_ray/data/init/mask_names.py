"""What the name of a file says: whether it is a mask, and of which image."""

import os
import re
import unicodedata
from pathlib import PurePath

from u2pl_ray.data.lists import IMAGE_SUFFIXES

_MASK_ENDS = (
    "_gtfine_labeltrainids", "_gtfine_labelids", "_labeltrainids", "_labelids", "_segmentation", "_mask", "_masks",
    "_label", "_labels", "_seg", "_gt", "_l", "-mask", "-label", ".mask", ".label", " mask",
)  # fmt: skip
"""Ends of mask names (in lower case), the preferred first where an image has several."""
_MASK_STARTS = ("mask_", "label_", "mask-", "label-")
_IMAGE_ENDS = ("_leftimg8bit", "_image", "_img", "_rgb")
_CITYSCAPES = ("labelids", "labeltrainids")
_NO_MASKS = re.compile(r"(_color|_instanceids|_instancetrainids|_overlay|_disparity)$")
"""Pictures that come with masks and are none."""


def stem_of(file: PurePath) -> str:
    """Return a file's name without its suffix, in composed form, as macOS writes names decomposed."""
    return unicodedata.normalize("NFC", file.stem)


def image_key(stem: str) -> str:
    """Return what the names of an image and its mask have in common: the stem in one case, without `_rgb` and such."""
    return _without(stem, _IMAGE_ENDS).casefold()


def bare(stem: str) -> str:
    """Return the stem of a mask without what says that it is one: `p0_mask`, `mask_p0` and `p0.jpg` are of `p0`."""
    stem = _without(stem, _MASK_ENDS)
    front, suffix = os.path.splitext(stem)
    stem = front if suffix.lower() in IMAGE_SUFFIXES else stem
    return next((stem[len(start) :] for start in _MASK_STARTS if stem.lower().startswith(start)), stem) or stem


def is_no_mask(file: PurePath) -> bool:
    """Return whether a picture comes with masks but is none, such as Cityscapes' colours."""
    return bool(_NO_MASKS.search(stem_of(file).casefold()))


def is_cityscapes(mask: PurePath) -> bool:
    """Return whether a mask is one of the several that Cityscapes has for each image."""
    return stem_of(mask).lower().endswith(_CITYSCAPES)


def end_of(mask: PurePath) -> int:
    """Return how likely the end of a mask's name is that of the mask to use: the lowest number first."""
    stem = stem_of(mask).casefold()
    return next((number for number, end in enumerate(_MASK_ENDS) if stem.endswith(end)), len(_MASK_ENDS))


def distance(stem: str, image: PurePath) -> int:
    """Return 0 for an image of exactly this stem, 1 for one in another case, 2 for one with another end."""
    other = stem_of(image)
    return 0 if stem == other else 1 if stem.casefold() == other.casefold() else 2


def _without(stem: str, ends: tuple[str, ...]) -> str:
    low = stem.lower()
    return next((stem[: -len(end)] for end in ends if low.endswith(end) and len(stem) > len(end)), stem)
