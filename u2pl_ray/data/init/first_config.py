"""From a folder of images to a configuration that trains, with the lists of its images beside it."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.overrides import merge
from u2pl_ray.data import turned_masks
from u2pl_ray.data.init.apart import set_apart
from u2pl_ray.data.init.blank import blank_masks
from u2pl_ray.data.init.coding import Coding, coding_of
from u2pl_ray.data.init.draw import SHARE, draw
from u2pl_ray.data.init.mixed import mixed_codings
from u2pl_ray.data.init.names import Code, find_names
from u2pl_ray.data.init.pairing import Pairs, find_pairs
from u2pl_ray.data.init.parts import Parts, parts_of
from u2pl_ray.data.init.pixels import pixel_settings
from u2pl_ray.data.init.proposal import Seen, propose
from u2pl_ray.data.init.scenes import group
from u2pl_ray.data.init.split_files import below, list_folder, split_lines, split_settings
from u2pl_ray.data.init.survey import Survey, survey
from u2pl_ray.data.percent import percent


@dataclass(frozen=True)
class FirstConfig:
    """A configuration that is ready to be written.

    Attributes:
        tree: its settings.
        lists: lines of each split file, by name.
        said: what was found and assumed, for people.
    """

    tree: dict[str, Any]
    lists: dict[str, tuple[str, ...]]
    said: tuple[str, ...]


def first_config(
    images: Path,
    masks: Path | None,
    out: Path,
    lists: Mapping[str, Path] | None = None,
    classes: Sequence[str] = (),
    ignore: Code | None = None,
    seed: int = 0,
) -> FirstConfig:
    """Look at a data set and propose a configuration for it. Writes nothing.

    Args:
        images: folder of images, or of a whole data set (PASCAL VOC, Cityscapes, images/ beside masks/).
        masks: folder of masks; None: to be found.
        out: the configuration's future path, which split files lie beside.
        lists: split files given by the user, by part: labeled, unlabeled, val, test.
        classes: class names in label order; none: to be found.
        ignore: value or colour of pixels without a class; None: to be guessed.
        seed: of the draw of validation and test images.

    Raises:
        UserError: no images, no masks, a single one and none for val, masks that can't be understood, or names that
            lists can't hold.
    """
    root = Path(os.path.abspath(images.expanduser()))
    pairs = find_pairs(images, masks)
    parts = parts_of(pairs, root, lists or {})
    labeled = parts.labeled + (parts.val or ()) + (parts.test or ())
    found = survey(labeled, parts.unlabeled)
    mixed = mixed_codings([mask for _, mask in labeled], found, ignore)
    given = [Path(os.path.abspath(folder.expanduser())) for folder in (masks, pairs.masks) if folder]
    places = [root, *given, pairs.images, *(folder.parent for folder in given), pairs.images.parent]
    ends = {mask.stem.lower().rpartition("_gtfine_")[2] for _, mask in labeled}
    cityscapes = {"labelids": "ids", "labeltrainids": "trainids"}.get(ends.pop(), "") if len(ends) == 1 else ""
    names, passed = (None, []) if classes else find_names(places)
    coding = coding_of(found, names, classes, cityscapes, ignore)
    if len(parts.labeled) == 1 and parts.val is None:
        only = "has a mask" if len(pairs.labeled) == 1 else "is labeled"
        raise UserError(f"only 1 image {only}: at least two are needed, one of them for validation")
    presence = coding.presence(found)
    blank = blank_masks([mask for _, mask in parts.labeled + (parts.val or ())], found, coding)
    parts, scenes, notes = _divided(parts, presence, seed)
    parts, apart = set_apart(parts, scenes, "unlabeled" in (lists or {}))
    notes += apart
    shown = coding.pixels(found)
    proposal, why = propose(Seen(coding.classes, shown, found.sizes, len(parts.unlabeled)))
    home, where = _places(pairs, out)
    tree = merge({"data": {**where, **split_settings(parts, home, out), "classes": list(coding.classes)}}, proposal)
    pixels, read = pixel_settings([image for image, _ in labeled] + list(parts.unlabeled))
    orientation, turned = turned_masks.setting(labeled)
    tree = merge(tree, {"data": {**coding.settings, **orientation, **pixels}})
    said = [*pairs.notes, *_counts(parts, pairs), *parts.notes, *notes]
    said += [*mixed, *passed, *coding.notes, *_shares(coding, found, shown), *blank, *turned, *read, *why]
    return FirstConfig(tree, split_lines(parts, home), tuple(said))


def _divided(parts: Parts, presence: np.ndarray, seed: int) -> tuple[Parts, bool, list[str]]:
    """Return the parts with val and test drawn out of the labeled images, where there is no val, and notes.

    Between them: whether they were drawn by scenes that the images' names tell.

    Args:
        parts: as found. A test part whose masks show no class is left out.
        presence: of classes in the masks of labeled, val and test images, bool [images, classes].
        seed: of the draw.
    """
    notes: list[str] = []
    labeled, val, test = parts.labeled, parts.val, parts.test
    if test and not presence[-len(test) :].any():
        notes.append(f"the masks of {len(test)} test images show no class at all: not used")
        test = None
    if val is not None:
        return Parts(labeled, parts.unlabeled, val, test, parts.notes), False, notes
    groups = group([image for image, _ in labeled])
    drawn = draw(presence[: len(labeled)], groups.of, seed, test is None)
    if drawn.test:
        test = tuple(labeled[row] for row in drawn.test)
    if drawn.val:
        parted = f"{len(drawn.val)} val" + (f" and {len(drawn.test)} test" if drawn.test else "")
        notes += [
            f"no val list: {parted} images drawn from {len(labeled)} labeled ones "
            f"({round(100 * SHARE)} % each, seed {seed}); every class stays in training",
            *groups.notes,
            *drawn.notes,
        ]
    else:
        notes.append(
            f"no val list, and each of {len(labeled)} labeled images alone shows a class: data.val is null, a part of "
            "them is held out instead, and training loses what they show; label more"
        )
    rest = tuple(labeled[row] for row in drawn.train)
    held = tuple(labeled[row] for row in drawn.val) or None
    return Parts(rest, parts.unlabeled, held, test, parts.notes), groups.scenes, notes


def _places(pairs: Pairs, out: Path) -> tuple[Path, dict[str, str]]:
    """Return the data root and the settings of root, images and labels."""
    masks = pairs.masks or pairs.images
    home = Path(os.path.commonpath([pairs.images, masks]))
    if len(home.parts) < 3:  # `/` or `/home` would say nothing
        home = pairs.images
    beside = out.absolute().parent
    root = os.path.relpath(home, beside) if home.is_relative_to(beside) else str(home)
    return home, {"root": root, "images": below(pairs.images, home), "labels": below(masks, home)}


def _counts(parts: Parts, pairs: Pairs) -> list[str]:
    total = len(pairs.labeled) + len(pairs.unlabeled)
    said = [f"{pairs.images}: {total} images, {len(pairs.labeled)} with masks in {pairs.masks}" if pairs.masks else ""]
    said.append(
        f"labeled {len(parts.labeled)}, unlabeled {len(parts.unlabeled)}, val {len(parts.val or ())}, "
        f"test {len(parts.test or ())}"
    )
    if pairs.orphans:
        said.append(f"{len(pairs.orphans)} masks have no image, such as {pairs.orphans[0].name}: not used")
    return [line for line in said if line]


def _shares(coding: Coding, found: Survey, pixels: np.ndarray) -> list[str]:
    total, all_pixels = max(1, int(pixels.sum())), max(1, sum(found.pixels.values()))
    codes = {label: code for code, label in coding.labels.items()}
    width = max(len(name) for name in coding.classes)
    said = [f"{len(coding.classes)} classes, share of labeled pixels:"]
    for label, name in enumerate(coding.classes):
        code = codes.get(label)
        coded = "in no mask" if code is None else f"coded {list(code) if isinstance(code, tuple) else code}"
        said.append(f"  {label:>3} {name:<{width}} {percent(pixels[label] / total):>6} %  {coded}")
    ignored = all_pixels - total
    return [*said, f"  ignored: {percent(ignored / all_pixels)} % of all pixels"]


def write(first: FirstConfig, out: Path, force: bool) -> list[Path]:
    """Write the configuration and its split files, and return their paths, the configuration first.

    Raises:
        UserError: a file exists and `force` is not set, or the folder can't be written.
    """
    folder = list_folder(out)
    texts = {folder / f"{name}.txt": "".join(f"{line}\n" for line in lines) for name, lines in first.lists.items()}
    header = "# Written by `u2pl-ray init`. `u2pl-ray settings` explains every key.\n"
    body = yaml.safe_dump(first.tree, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    texts = {out.absolute(): header + body, **texts}
    for path in texts:
        if path.exists() and not force:
            raise UserError(f"{path}: exists already; choose another --out, or --force to overwrite")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            path.write_text(text, "utf-8")
    except OSError as error:
        raise UserError(f"--out {out}: can't be written ({error.strerror or error})") from None
    return list(texts)
