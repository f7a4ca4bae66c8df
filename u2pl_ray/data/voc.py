"""PASCAL VOC layout on disk: JPEGImages/<id>.jpg, SegmentationClass/<id>.png, split files of one id per line.

Everything wrong with the files is a `UserError` that names the file.
"""

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import IGNORE, DataConfig

IMAGE_SUFFIXES = (".jpg", ".png", ".jpeg")
"""In order of precedence where an id has several files; upper case is accepted too."""
IMAGES = "JPEGImages"
LABELS = "SegmentationClass"
SPLITS = ("labeled", "unlabeled", "val", "test")
"""The four splits: the names of the split files' keys under `data`."""

_IMAGE_MODES = ("RGB", "L", "P", "RGBA", "LA", "CMYK", "YCbCr", "1")
_LABEL_MODES = ("L", "P", "1")
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


@dataclass(frozen=True)
class Item:
    """One image of a split; `label` is None where no label file exists."""

    id: str
    image: Path
    label: Path | None


def root_of(data: DataConfig) -> Path:
    """The data root as an absolute path, checked to have the layout's folders."""
    if not data.root:
        raise UserError("data.root is empty: set it to a folder with JPEGImages/ and SegmentationClass/")
    root = Path(os.path.abspath(os.path.expanduser(data.root)))
    if not root.is_dir():
        raise UserError(f"data.root={data.root}: there is no such folder; set data.root to your images")
    for folder in (IMAGES, LABELS):
        if not (root / folder).is_dir():
            raise UserError(f"{root / folder} is missing: data.root must be in PASCAL VOC layout")
    return root


def read_classes(data: DataConfig) -> tuple[str, ...]:
    """Class names in label order: `data.classes`, else the JSON list in root/classes.json."""
    if data.classes:
        source, names = "data.classes", list(data.classes)
    else:
        path = root_of(data) / "classes.json"
        source = str(path)
        if not path.is_file():
            raise UserError(f"{path} is missing: write a JSON list of class names there, or set data.classes")
        try:
            names = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{path} is not JSON ({error}): write a list of class names") from None
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise UserError(f"{source} must be a list of class names in label order")
    if not 2 <= len(names) <= IGNORE:
        raise UserError(f"{source} names {len(names)} classes: between 2 and {IGNORE} are possible")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{source} names the class {twice[0]!r} twice: class names must differ")
    return tuple(names)


def read_list(path: Path, key: str = "") -> tuple[str, ...]:
    """Ids in a split file, one per line; blank lines are skipped. `key` is the setting that named the file."""
    named = f"{key}: " if key else ""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{named}split file {path} is missing: write one image id per line there") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{named}split file {path} can't be read: {error}") from None
    ids = [line.strip() for line in lines if line.strip()]
    if not ids:
        raise UserError(f"{named}split file {path} is empty: write one image id per line there")
    name, count = Counter(ids).most_common(1)[0]
    if count > 1:
        raise UserError(f"{named}split file {path} lists {name!r} {count} times: keep one line of it")
    return tuple(ids)


def list_images(root: Path) -> dict[str, Path]:
    """Image files of the root by id (one directory listing: asking file by file is slow on network storage)."""
    best: dict[str, tuple[int, Path]] = {}
    for entry in os.scandir(root / IMAGES):
        stem, suffix = os.path.splitext(entry.name)
        if suffix.lower() in IMAGE_SUFFIXES:
            found = (IMAGE_SUFFIXES.index(suffix.lower()), Path(entry.path))
            best[stem] = min(best.get(stem, found), found)
    return {stem: path for stem, (_, path) in best.items()}


def list_labels(root: Path) -> dict[str, Path]:
    """Label files of the root by id."""
    names = (os.path.splitext(entry.name) for entry in os.scandir(root / LABELS))
    return {stem: root / LABELS / (stem + suffix) for stem, suffix in names if suffix == ".png"}


def open_split(data: DataConfig, split: str, labels: bool = True) -> tuple[Item, ...]:
    """Items of one of `SPLITS` in the order of its file, existence checked.

    Args:
        data: the data section; `data.root` and the split's file name are used.
        split: one of labeled, unlabeled, val, test.
        labels: refuse an image without a label file. Where False, `Item.label` may be None.
    """
    root = root_of(data)
    path = root / getattr(data, split)
    ids = read_list(path, f"data.{split}")
    images, label_files = list_images(root), list_labels(root)
    _refuse_absent(ids, images, path, f"{IMAGES}/{{}}.jpg (or .png)", "image")
    if labels:
        _refuse_absent(ids, label_files, path, f"{LABELS}/{{}}.png", "label")
    return tuple(Item(name, images[name], label_files.get(name)) for name in ids)


def open_training_splits(data: DataConfig) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """The labeled and the unlabeled split, checked to be disjoint."""
    labeled, unlabeled = open_split(data, "labeled"), open_split(data, "unlabeled", labels=False)
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


def _refuse_absent(ids: tuple[str, ...], files: dict[str, Path], split: Path, pattern: str, what: str) -> None:
    absent = [name for name in ids if name not in files]
    if absent:
        more = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
        raise UserError(
            f"split file {split} lists {absent[0]!r}{more}, but its {what} {pattern.format(absent[0])} is absent: "
            "add the file or remove the line"
        )


def read_image(path: Path) -> np.ndarray:
    """An image as uint8 [h, w, 3] RGB, pixels as stored (EXIF rotation is not applied: labels have none)."""
    try:
        with Image.open(path) as file:
            if file.mode not in _IMAGE_MODES:
                raise UserError(f"{path}: pixel format {file.mode} is not supported: save it as 8-bit RGB")
            return np.array(file.convert("RGB"))
    except _DECODE_ERRORS as error:
        raise _unreadable(path, error) from None


def read_label(path: Path, num_classes: int) -> np.ndarray:
    """A label image (palette or grey) as uint8 [h, w] of class indices below `num_classes`, or 255."""
    try:
        with Image.open(path) as file:
            depth = str(file.tile[0][3]) if file.tile else ""
            # Pillow stretches 2- and 4-bit grey to 0..255, which would change the class indices
            if file.mode not in _LABEL_MODES or depth in ("L;2", "L;4"):
                raise UserError(
                    f"{path}: a label must have one 8-bit channel of class indices, this is "
                    f"{depth or file.mode}: save it as a palette or 8-bit grey PNG"
                )
            label = np.array(file, dtype=np.uint8)
    except _DECODE_ERRORS as error:
        raise _unreadable(path, error) from None
    wrong = label[(label >= num_classes) & (label != IGNORE)]
    if wrong.size:
        raise UserError(
            f"{path}: label value {int(wrong.min())} is outside the {num_classes} classes "
            f"(0..{num_classes - 1}, or {IGNORE} to ignore): fix the label or add the class"
        )
    return label


def read_item(item: Item, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 [h, w, 3] and label uint8 [h, w] (all 255 where the item has none), sizes compared."""
    image = read_image(item.image)
    if item.label is None:
        return image, np.full(image.shape[:2], IGNORE, np.uint8)
    label = read_label(item.label, num_classes)
    refuse_sizes(item, (image.shape[0], image.shape[1]), (label.shape[0], label.shape[1]))
    return image, label


def palette() -> np.ndarray:
    """The colours of PASCAL VOC's label images, uint8 [256, 3] RGB: bits of the index, spread over the channels."""
    index = np.arange(256)
    channels = [sum(((index >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(8)) for channel in range(3)]
    return np.stack(channels, axis=1).astype(np.uint8)


def read_size(path: Path) -> tuple[int, int]:
    """(height, width) from the file's header."""
    try:
        with Image.open(path) as file:
            return file.height, file.width
    except _DECODE_ERRORS as error:
        raise _unreadable(path, error) from None


def refuse_sizes(item: Item, image: tuple[int, int], label: tuple[int, int]) -> None:
    """Raise `UserError` where image and label, each (height, width), differ in size."""
    if image != label:
        raise UserError(
            f"{item.label}: label is {label[1]}x{label[0]} pixels, but the image {item.image} is "
            f"{image[1]}x{image[0]}: they must be of one size"
        )


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    reason = reason.replace(repr(str(path)), "").strip() or type(error).__name__
    return UserError(f"{path}: can't be read as an image ({reason}): replace it or remove its id from the splits")
