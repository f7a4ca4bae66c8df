"""Which images are labeled, unlabeled, val and test: by lists, by folders called so, or all left to be drawn."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from u2pl_ray.config.errors import UserError
from u2pl_ray.data.init.folders import role_and_place
from u2pl_ray.data.init.found_files import POLYGONS, contents
from u2pl_ray.data.init.matching import refuse_several
from u2pl_ray.data.init.pairing import Pairs
from u2pl_ray.data.lists import Files, read_list, split_entry
from u2pl_ray.data.voc import LABEL_SUFFIXES

Pair = tuple[Path, Path]
_FOLDERS = {
    "train": "labeled", "training": "labeled", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test", "unlabeled": "unlabeled", "unlabelled": "unlabeled", "train_extra": "unlabeled",
}  # fmt: skip
_VOC_LISTS = Path("ImageSets", "Segmentation")


@dataclass(frozen=True)
class Parts:
    """The images of each part; `val` and `test` are None where they are not given but to be drawn.

    Attributes:
        labeled: image and mask of each.
        unlabeled: images.
        val: image and mask of each.
        test: image and mask of each.
        notes: where the parts are from.
    """

    labeled: tuple[Pair, ...]
    unlabeled: tuple[Path, ...]
    val: tuple[Pair, ...] | None
    test: tuple[Pair, ...] | None
    notes: tuple[str, ...]


def parts_of(pairs: Pairs, root: Path, lists: Mapping[str, Path]) -> Parts:
    """Return the parts of a data set.

    Args:
        pairs: its images and masks.
        root: the folder that the user named; paths in lists are relative to it.
        lists: files given by the user, by part: labeled, unlabeled, val, test.

    Raises:
        UserError: no labeled image, one with several equally good masks, or a list
            that names an image or mask that is absent.
    """
    lists = dict(lists)
    voc = root / _VOC_LISTS
    if not lists and (voc / "train.txt").is_file():
        lists = {"labeled": voc / "train.txt"}
        lists |= {name: voc / f"{name}.txt" for name in ("val", "test") if (voc / f"{name}.txt").is_file()}
    parts = _listed(pairs, root, lists) if lists else _by_folder(pairs, root)
    if not parts.labeled:
        raise UserError(_none_labeled(pairs, root))
    return parts


def _none_labeled(pairs: Pairs, root: Path) -> str:
    if pairs.labeled:
        return f"{root}: all {len(pairs.labeled)} images with masks are for val or test: none is left to train on"
    given = pairs.masks if pairs.masks not in (root, pairs.images) else None
    if given and (found := contents(given)):
        return f"{given}: holds no masks, but {found}"
    if found := contents(root, POLYGONS):
        return f"{root}: holds no masks, but {found}"
    if given:
        return f"{given}: holds no masks"
    return (
        f"{root}: no image has a mask, and without a few labeled images nothing can be trained: give their folder "
        "(--masks DIR)"
    )


def _listed(pairs: Pairs, root: Path, lists: Mapping[str, Path]) -> Parts:
    if "labeled" not in lists:
        raise UserError("--labeled is missing: name the list of labeled images beside the other lists")
    partner = dict(pairs.labeled)
    images = Files(root, os.path.relpath(pairs.images, root))
    masks = None if pairs.masks is None else Files(root, os.path.relpath(pairs.masks, root), LABEL_SUFFIXES)
    found: dict[str, list[tuple[Path, Path | None]]] = {}
    for part, path in lists.items():
        found[part] = []
        for entry in read_list(path.expanduser(), f"--{part}"):
            name, named = split_entry(entry, images)
            image = images.find(name)
            if image is None:
                raise UserError(f"{path}: lists {name!r}, but there is no such image below {root}")
            if named is None or masks is None:
                mask = partner.get(image)
                _one_mask(image, pairs)
            else:
                mask = masks.find(named)
            if mask is None and part != "unlabeled":
                raise UserError(f"{path}: lists {name!r}, which has no mask{f' {named}' if named else ''}")
            found[part].append((image, mask and Path(os.path.normpath(mask))))
    notes = [f"{part}: {len(found[part])} images from {path}" for part, path in lists.items()]
    used = {image for rows in found.values() for image, _ in rows}
    if "unlabeled" in lists:
        unlabeled = tuple(image for image, _ in found["unlabeled"])
    else:
        unlabeled = tuple(image for image in pairs.unlabeled if image not in used)
    spare = sum(image not in used for image, _ in pairs.labeled)
    if spare:
        notes.append(f"{spare} images with masks are in no list: not used")
    given = {part: tuple((i, m) for i, m in rows if m is not None) for part, rows in found.items()}
    return Parts(given["labeled"], unlabeled, given.get("val"), given.get("test"), tuple(notes))


def _one_mask(image: Path, pairs: Pairs) -> None:
    if image in pairs.several:
        refuse_several(image, pairs.several[image])


def _by_folder(pairs: Pairs, root: Path) -> Parts:
    rows: dict[str, list[Pair]] = {"labeled": [], "unlabeled": [], "val": [], "test": []}
    for image, mask in pairs.labeled:
        _one_mask(image, pairs)
        rows[_part(image, root)].append((image, mask))
    held = [image for image in pairs.unlabeled if _part(image, root) in ("val", "test")]
    skipped = set(held)
    unlabeled = [image for image in pairs.unlabeled if image not in skipped]
    unlabeled += [image for image, _ in rows["unlabeled"]]
    notes = [f"{len(held)} images in folders for val or test have no mask: not used"] if held else []
    if rows["val"] or rows["test"]:
        notes.append("train, val and test are the folders called so")
    return Parts(
        tuple(rows["labeled"]),
        tuple(unlabeled),
        tuple(rows["val"]) or None,
        tuple(rows["test"]) or None,
        tuple(notes),
    )


def _part(image: Path, root: Path) -> str:
    parts: Sequence[str] = image.parent.relative_to(root).parts if image.is_relative_to(root) else ()
    places = (role_and_place(part)[1] for part in parts)
    return next((_FOLDERS[place] for place in places if place in _FOLDERS), "labeled")
