"""Images and masks on disk: by ids in two folders (PASCAL VOC's layout is the default), or by lists of files.

Everything wrong with the files is a `UserError` that names the file.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import IGNORE, DataConfig
from u2pl_ray.data.coding import decode
from u2pl_ray.data.image_files import DECODE_ERRORS, read_image, unreadable
from u2pl_ray.data.lists import Files, read_list, split_entry
from u2pl_ray.data.orientation import open_image, tag_of, turn_of, turned
from u2pl_ray.system.stores import is_uri

IMAGES = "JPEGImages"
LABELS = "SegmentationClass"
CLASSES_FILE = "classes.json"
SPLITS = ("labeled", "unlabeled", "val", "test")
"""The four splits: the names of the split files' keys under `data`."""

LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif")
"""Formats of masks that keep exact values, in order of precedence where an id has several files."""

LOSSY = (".jpg", ".jpeg")
"""Formats that masks are refused in."""


@dataclass(frozen=True)
class Item:
    """One image of a split; `label` is None where no label file exists."""

    id: str
    image: Path
    label: Path | None


def location_of(data: DataConfig) -> str:
    """The data root as an absolute path, checked to exist, or as a URI without a slash at its end."""
    if not data.root:
        raise UserError("data.root is empty: set it to a folder with JPEGImages/ and SegmentationClass/")
    if is_uri(data.root):
        return data.root.rstrip("/")
    root = Path(os.path.abspath(os.path.expanduser(data.root)))
    if not root.is_dir():
        raise UserError(f"data.root={data.root}: there is no such folder; set data.root to your images")
    return str(root)


def root_of(data: DataConfig, say: Callable[[str], None] | None = None) -> Path:
    """The folder that the data is read from on this machine, checked to exist: the data root, or this node's copy.

    Args:
        data: names the root.
        say: takes lines on the progress, if a copy has to be made; None: they go to stderr.
    """
    from u2pl_ray.data.staging.local import local_root

    root = local_root(data.model_copy(update={"root": location_of(data)}), say)
    for key in ("images", "labels"):
        folder = root / os.path.expanduser(getattr(data, key))
        if not folder.is_dir():
            raise UserError(
                f"{folder} is missing: data.root must be in PASCAL VOC layout, or data.{key} name the folder; "
                "u2pl-ray init IMAGES writes a configuration for other layouts"
            )
    return root


def read_classes(data: DataConfig) -> tuple[str, ...]:
    """Class names in label order: `data.classes`, else the JSON list in root/classes.json."""
    if data.classes:
        source, names = "data.classes", list(data.classes)
    else:
        path, source = root_of(data) / CLASSES_FILE, f"{location_of(data)}/{CLASSES_FILE}"
        if not path.is_file():
            raise UserError(f"{source} is missing: write a JSON list of class names there, or set data.classes")
        try:
            names = json.loads(path.read_text(encoding="utf-8-sig"))
        except ValueError as error:
            raise UserError(f"{source} is not JSON ({error}): write a list of class names") from None
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise UserError(f"{source} must be a list of class names in label order")
    if not 2 <= len(names) <= IGNORE:
        raise UserError(f"{source} names {len(names)} classes: between 2 and {IGNORE} are possible")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{source} names the class {twice[0]!r} twice: class names must differ")
    return tuple(names)


def open_split(data: DataConfig, split: str, labels: bool = True) -> tuple[Item, ...]:
    """Items of one of `SPLITS` in the order of its file, existence checked.

    Args:
        data: the data section; `data.root` and the split's file name are used.
        split: one of labeled, unlabeled, val, test. Where validation images are held out of the labeled ones, these are
            given as val, and labeled is the rest.
        labels: refuse an image without a label file. Where False, `Item.label` may be None.
    """
    if split in ("labeled", "val") and holds_out(data):
        from u2pl_ray.data.splits import hold_out

        rest, held = hold_out(data)
        return held if split == "val" else rest
    return listed(data, split, labels)


def holds_out(data: DataConfig) -> bool:
    """Whether validation images are a part of the labeled ones."""
    return data.selection == "holdout" or data.val is None


def official(data: DataConfig) -> DataConfig:
    """The same data, evaluated on its own val list where there is one, whatever trials were compared on."""
    return data if data.val is None else data.model_copy(update={"selection": "val"})


def listed(data: DataConfig, split: str, labels: bool = True) -> tuple[Item, ...]:
    """Items of a split file as it is, nothing held out; see `open_split`."""
    root, name = root_of(data), getattr(data, split)
    if name is None:
        other = ", or score on --split val" if split == "test" else ""
        raise UserError(f"data.{split} is null: set it to a split file{other}")
    path = root / os.path.expanduser(name)
    entries = read_list(path, f"data.{split}")
    images = Files(root, os.path.expanduser(data.images))
    masks = Files(root, os.path.expanduser(data.labels), LABEL_SUFFIXES)
    pairs = [split_entry(entry, images) for entry in entries]
    _refuse_absent([pair[0] for pair in pairs], images, path, f"{data.images}/{{}}.jpg (or .png)", "image")
    old, new = data.label_rename or ("", "")
    named = [label or (images.id_of(image).replace(old, new) if old else images.id_of(image)) for image, label in pairs]
    if labels:
        if data.labels != data.images:
            _refuse_lossy([name for name in named if masks.find(name) is None], Files(root, data.labels, LOSSY), path)
        _refuse_absent(named, masks, path, f"{data.labels}/{{}}.png", "label")
    found = [
        (images.id_of(image), images.find(image), masks.find(label))
        for (image, _), label in zip(pairs, named, strict=True)
    ]
    # Where masks lie among the images, an image without one would be found as its own
    return tuple(Item(id, image, None if mask == image else mask) for id, image, mask in found if image is not None)


def open_training_splits(data: DataConfig) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """The labeled and the unlabeled split, checked to be disjoint."""
    labeled = open_split(data, "labeled")
    if data.labeled_share < 1:
        from u2pl_ray.data.splits import part_of

        labeled = part_of(data, labeled)
    unlabeled = () if data.unlabeled is None else open_split(data, "unlabeled", labels=False)
    ids = {item.id for item in labeled}
    both = [item.id for item in unlabeled if item.id in ids]
    if both:
        more = f" (and {len(both) - 1} more)" if len(both) > 1 else ""
        raise UserError(
            f"id {both[0]!r}{more} is in both split files {data.labeled} and {data.unlabeled} of {data.root}: "
            "keep it in one"
        )
    return labeled, unlabeled


def with_labels(unlabeled: tuple[Item, ...], method: str) -> tuple[Item, ...]:
    """Return the unlabeled images, for a method that trains on their labels.

    Args:
        unlabeled: the split.
        method: its name, for the message.

    Raises:
        UserError: an image has no label.
    """
    bare = [item.id for item in unlabeled if item.label is None]
    if bare:
        raise UserError(
            f"method.name={method} trains on the labels of the unlabeled images, but {len(bare)} of "
            f"{len(unlabeled)} have none (such as {bare[0]!r}): choose another method, or add the labels"
        )
    return unlabeled


def _refuse_lossy(absent: Sequence[str], lossy: Files, split: Path) -> None:
    """Raise `UserError` where a mask is there, but as a JPEG."""
    found = [file for entry in absent if (file := lossy.find(entry)) is not None]
    if found:
        more = f" (and {len(found) - 1} more that {split} lists)" if len(found) > 1 else ""
        raise UserError(
            f"{found[0]}{more}: the mask is a JPEG, which blurs the classes at every border: save it as PNG from the "
            "source it was drawn in"
        )


def _refuse_absent(entries: Sequence[str], files: Files, split: Path, pattern: str, what: str) -> None:
    absent = [entry for entry in entries if files.find(entry) is None]
    if absent:
        more = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
        place = absent[0] if os.path.splitext(absent[0])[1] else pattern.format(absent[0])
        raise UserError(
            f"split file {split} lists {absent[0]!r}{more}, but its {what} {place} is absent: "
            "add the file or remove the line"
        )


def read_label(path: Path, num_classes: int, data: DataConfig | None = None) -> np.ndarray:
    """Read a mask as uint8 [h, w] of class indices below `num_classes`, or 255.

    Args:
        path: the file; its own EXIF orientation is honoured.
        num_classes: values from it on are refused.
        data: how classes are coded; None: value is class, 255 is none.
    """
    try:
        with open_image(path) as file:
            label = decode(file, path, data or DataConfig(), num_classes)
            turn = turn_of(file)
            return label if turn is None else np.asarray(Image.fromarray(label).transpose(turn))
    except DECODE_ERRORS as error:
        raise unreadable(path, error) from None


def read_item(item: Item, num_classes: int, data: DataConfig | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Image [h, w, channels] (see `read_image`) and label uint8 [h, w] (255 where the item has none), sizes compared.

    Each is turned as its own orientation tag says, and a mask that was drawn on the stored pixels of its image as the
    image's tag says, see `drawn_on_stored`.

    Args:
        item: names the files.
        num_classes: label values from it on are refused.
        data: how images and classes are coded; None: as by default.
    """
    data = data or DataConfig()
    image = read_image(item.image, data)
    if item.label is None:
        return image, np.full(image.shape[:2], IGNORE, np.uint8)
    label = read_label(item.label, num_classes, data)
    sizes = (image.shape[0], image.shape[1]), (label.shape[0], label.shape[1])
    if drawn_on_stored(item, *sizes, data):
        label = turned(label, item.image)
    refuse_sizes(item, sizes[0], (label.shape[0], label.shape[1]))
    return image, label


def drawn_on_stored(item: Item, image: tuple[int, int], label: tuple[int, int], data: DataConfig) -> bool:
    """Tell whether a mask was drawn on the pixels of its image as they are stored, though the image has to be turned.

    Args:
        item: image and mask.
        image: (height, width), upright.
        label: (height, width), turned as its own tag says.
        data: `label_orientation` says it; where it does not, the sizes do.
    """
    if data.label_orientation is None:
        return image == label[::-1] != label
    return data.label_orientation == "stored" and item.label is not None and tag_of(item.label) == 1


def palette() -> np.ndarray:
    """The colours of PASCAL VOC's label images, uint8 [256, 3] RGB: bits of the index, spread over the channels."""
    index = np.arange(256)
    channels = [sum(((index >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(8)) for channel in range(3)]
    return np.stack(channels, axis=1).astype(np.uint8)


def refuse_sizes(item: Item, image: tuple[int, int], label: tuple[int, int]) -> None:
    """Raise `UserError` where image and label, each (height, width), differ in size."""
    if image != label:
        raise UserError(
            f"{item.label}: label is {label[1]}x{label[0]} pixels, but the image {item.image} is "
            f"{image[1]}x{image[0]}: they must be of one size"
        )
