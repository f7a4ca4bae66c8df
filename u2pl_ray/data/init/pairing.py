"""Which files below a folder are images, which are masks, and which mask belongs to which image."""

import os
from dataclasses import dataclass
from pathlib import Path

from u2pl_ray.config.errors import UserError
from u2pl_ray.data.init.folders import mirrors, role_and_place, role_of
from u2pl_ray.data.init.found_files import not_read, pictures_below, without_copies
from u2pl_ray.data.init.mask_names import bare, image_key, is_no_mask, stem_of
from u2pl_ray.data.init.matching import match
from u2pl_ray.data.lists import IMAGE_SUFFIXES
from u2pl_ray.data.voc import LABEL_SUFFIXES


@dataclass(frozen=True)
class Pairs:
    """Images and their masks.

    Attributes:
        images: the folder that the images lie in, absolute.
        masks: the folder that the masks lie in, absolute; None where there is none.
        labeled: image and mask of each image that has one, in order of name.
        unlabeled: images without a mask.
        orphans: masks without an image.
        several: the masks of images that have equally good ones in different folders.
        notes: what was assumed.
    """

    images: Path
    masks: Path | None
    labeled: tuple[tuple[Path, Path], ...]
    unlabeled: tuple[Path, ...]
    orphans: tuple[Path, ...]
    several: dict[Path, tuple[Path, ...]]
    notes: tuple[str, ...]


def find_pairs(images: Path, masks: Path | None) -> Pairs:
    """Find images and masks below one or two folders, whatever their suffix, nesting, case and Unicode form.

    Args:
        images: folder of images; where `masks` is None, it may hold the masks too, or have them beside it.
        masks: folder of masks.

    Raises:
        UserError: a folder that is missing or without images, or masks of which none belongs to an image.
    """
    images = _folder(images, "IMAGES")
    given = None if masks is None else _folder(masks, "--masks")
    (files, others), notes = pictures_below(images), list[str]()
    if given is not None:
        found, pictures = pictures_below(given)[0], [file for file in files if not file.is_relative_to(given)]
        if given == images or images.is_relative_to(given):
            found, pictures = _by_name(files)
        elif spare := [file for file in pictures if role_of(file, images) == "masks"]:
            pictures = [file for file in pictures if role_of(file, images) != "masks"]
            notes.append(f"{len(spare)} files in other folders of masks are not used (such as {_short(spare[0])})")
    else:
        found, pictures = _by_name(files, images)
        if not found and (beside := _beside(images)):
            given, found = beside, pictures_below(beside)[0]
            notes.append(f"masks are taken from {beside.name}/ beside it (another folder: --masks DIR)")
    others += [file for file in pictures if file.suffix.lower() not in IMAGE_SUFFIXES]
    pictures = [file for file in pictures if file.suffix.lower() in IMAGE_SUFFIXES]
    others = without_copies((file for file in others if role_of(file, images) != "masks"), pictures)
    if not pictures:
        advice = not_read(others) if others else "name the folder that does"
        raise UserError(f"{images}: holds no images ({', '.join(IMAGE_SUFFIXES)}); {advice}")
    notes += [not_read(others)] if others else []
    pictures, doubles = _one_per_name(pictures)
    if doubles:
        notes.append(
            f"{len(doubles)} images of the same name in another format are not used (such as {doubles[0].name})"
        )
    refused = [file for file in found if file.suffix.lower() not in LABEL_SUFFIXES]
    found = [file for file in found if file.suffix.lower() in LABEL_SUFFIXES and not is_no_mask(file)]
    if refused and not found:
        raise UserError(
            f"{refused[0]}: masks in this format lose the exact classes at every border: save them as PNG "
            f"({', '.join(LABEL_SUFFIXES)} are read)"
        )
    if refused:
        notes.append(
            f"{len(refused)} masks are in a format that loses the exact classes (such as {refused[0].name}): not used"
        )
    matches = match(pictures, found, images, given or images)
    partner = matches.partner
    notes += matches.notes
    if found and not partner:
        raise UserError(
            f"none of {len(found)} masks belongs to one of {len(pictures)} images by name: {_short(found[0])} has no "
            f"image, {_short(pictures[0])} no mask; give a mask its image's name (or with _mask, _label at its end)"
        )
    labeled = tuple((image, partner[image]) for image in pictures if image in partner)
    rest = [image for image in pictures if image not in partner]
    for folder in mirrors(rest, list(partner)):
        rest = [image for image in rest if image.parent != folder]
        notes.append(f"{folder.name}/ looks like masks of images beside it: not used as images")
    image_home, mask_home = _home([*partner, *rest], images), _home([mask for _, mask in labeled], given or images)
    return Pairs(image_home, mask_home, labeled, tuple(rest), matches.orphans, matches.several, tuple(notes))


def _folder(path: Path, name: str) -> Path:
    folder = Path(os.path.abspath(path.expanduser()))
    if not folder.is_dir():
        raise UserError(f"{name} {path}: no such folder")
    return folder


def _by_name(files: list[Path], below: Path | None = None) -> tuple[list[Path], list[Path]]:
    """Part masks from images by the names of folders below `below`, or by the ends of their own names.

    Where some files lie in a folder named for images, these alone are the images.
    """
    keys = {image_key(stem_of(file)) for file in files}
    masks: list[Path] = []
    images: list[Path] = []
    sure: list[Path] = []
    for file in files:
        role, stem = role_of(file, below) if below else "", stem_of(file)
        named = is_no_mask(file) or (bare(stem) != stem and image_key(bare(stem)) in keys)
        if role == "masks" or (not role and named):
            masks.append(file)
        else:
            (sure if role else images).append(file)
    return masks, sure or images


def _one_per_name(images: list[Path]) -> tuple[list[Path], list[Path]]:
    """Part one image of each name and folder, in the format that lists prefer, from the others."""
    best: dict[tuple[Path, str], Path] = {}
    for image in sorted(images, key=lambda image: IMAGE_SUFFIXES.index(image.suffix.lower())):
        best.setdefault((image.parent, image.stem), image)
    chosen = set(best.values())
    return sorted(chosen), [image for image in images if image not in chosen]


def _beside(images: Path) -> Path | None:
    """Return the one folder of masks beside the images' folder: `masks`, or beside `train` the folder `trainannot`."""
    folders = [path for path in images.parent.iterdir() if path.is_dir() and path != images]
    place = role_and_place(images.name)[1]
    for wanted in dict.fromkeys((place, "")):
        known = [path for path in folders if role_and_place(path.name) == ("masks", wanted)]
        if len(known) == 1:
            return known[0]
    return None


def _home(files: list[Path], default: Path) -> Path:
    """Return the innermost folder that holds all files."""
    return Path(os.path.commonpath([file.parent for file in files])) if files else default


def _short(file: Path) -> str:
    return str(Path(*file.parts[-2:]))
