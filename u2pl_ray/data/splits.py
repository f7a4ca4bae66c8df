"""Making labeled / unlabeled split files out of a training list, whose images may all have masks or only some."""

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import IGNORE, DataConfig
from u2pl_ray.data.at_once import read_all
from u2pl_ray.data.lists import Files, read_list, split_entry
from u2pl_ray.data.voc import Item, listed, read_classes, read_label, root_of


def make_splits(
    data: DataConfig,
    sizes: Sequence[str],
    seed: int = 0,
    source: str = "ImageSets/Segmentation/train.txt",
    out: str | None = None,
) -> list[Path]:
    """Write `<out>/<size>/labeled.txt` and `unlabeled.txt` for each size; nothing that exists is overwritten.

    The splits are nested: a larger one holds the labeled images of every smaller one. Images without a mask are
    unlabeled in all of them. Each shows every class if so few images can: the order is random, but begins with an image
    of the rarest class, then one of the rarest class not shown yet, and so on, among those the image that shows the
    most classes not shown yet.

    Args:
        data: gives the root and the classes.
        sizes: labeled images each, as a fraction ("1/8", "0.125") or a count ("92"); the folder is named after
            it ("1_8", "92").
        seed: of the random order.
        source: list of training images, relative to the root or absolute; sizes are parts of those with a mask.
        out: folder for the splits; None: `splits` in the root.

    Returns:
        The folders, in the order of `sizes`.

    Raises:
        UserError: a size that is no part of the list, a file that exists, anything wrong with the labels.
    """
    data = data.model_copy(update={"stage": "never"})  # files are written there
    root = root_of(data)
    ids = read_list(root / source)
    items = listed(data.model_copy(update={"labeled": source}), "labeled", labels=False)
    rows = [row for row, item in enumerate(items) if item.label is not None]
    if not rows:
        raise UserError(f"{root / source}: none of its {len(items)} images has a mask in {data.labels}")
    parsed = [_parse(size, len(rows), len(rows) < len(items)) for size in sizes]
    folders = [(Path(out) if out else root / "splits") / name for name, _ in parsed]
    if len(set(folders)) != len(folders):
        raise UserError(f"sizes {', '.join(sizes)}: two of them mean the same split")
    for folder in folders:
        for file in (folder / "labeled.txt", folder / "unlabeled.txt"):
            if file.exists():
                raise UserError(f"{file} exists already: remove it, or write elsewhere")
    order = _covering_order(presence(data, [items[row] for row in rows]), seed)
    for folder, (_, count) in zip(folders, parsed, strict=True):
        _write(folder, ids, {rows[place] for place in order[:count]})
    return folders


def _parse(size: str, total: int, all_fit: bool) -> tuple[str, int]:
    """Return folder name and number of labeled images, of `total` with a mask; all of them only if `all_fit`."""
    counted = size.strip().isdecimal()
    try:
        value = Fraction(size.strip())
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if not counted and not 0 < value < 1:
        raise UserError(f"split size {size!r}: write a fraction below 1 such as 1/8, or a number of images")
    count = int(value) if counted else round(value * total)
    most = total if all_fit else total - 1
    if not 1 <= count <= most:
        raise UserError(f"split size {size!r} makes {count} of {total} images labeled: between 1 and {most} fit")
    return (str(value).replace("/", "_"), count)


def unlisted(data: DataConfig, source: str) -> int:
    """Return how many images of `data.images` are in none of the lists train, val and test beside `source`.

    Args:
        data: gives root and images.
        source: list of training images, relative to the root or absolute.
    """
    root = root_of(data.model_copy(update={"stage": "never"}))
    images = Files(root, data.images)
    lists = [root / source, *((root / source).with_name(f"{name}.txt") for name in ("train", "val", "test"))]
    entries = {entry for path in lists if path.is_file() for entry in read_list(path)}
    return len(set(images.by_id) - {images.id_of(split_entry(entry, images)[0]) for entry in entries})


def presence(data: DataConfig, items: Sequence[Item]) -> np.ndarray:
    """Return bool [images, classes]: whether the class has a pixel in the image's label."""
    classes = len(read_classes(data))

    def row(item: Item) -> np.ndarray:
        assert item.label is not None
        return np.bincount(read_label(item.label, classes, data).ravel(), minlength=IGNORE + 1)[:classes] > 0

    return np.array(read_all(row, items))


def hold_out(data: DataConfig) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Return the labeled images without, and then with, those held out for validation; both keep the list's order.

    The held-out part is `data.holdout` of them, drawn by `data.holdout_seed` so that it shows every class that at least
    two images show, and the rest shows every class.

    Raises:
        UserError: fewer than two labeled images.
    """
    return _hold_out(data.model_dump_json())


@lru_cache(maxsize=4)
def _hold_out(settings: str) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    data = DataConfig.model_validate_json(settings)
    items = listed(data, "labeled")
    if len(items) < 2:
        raise UserError(f"data.labeled={data.labeled} has {len(items)} image: none can be held out for validation")
    found = presence(data, items)
    kept = _covering(found, data.holdout_seed)  # what training must not lose
    free = [row for row in range(len(items)) if row not in kept] or kept[1:]
    count = min(len(free), max(1, round(data.holdout * len(items))))
    held = {free[row] for row in _covering_order(found[free], data.holdout_seed)[:count]}
    parts = [tuple(item for row, item in enumerate(items) if (row in held) == side) for side in (False, True)]
    return parts[0], parts[1]


def part_of(data: DataConfig, items: tuple[Item, ...]) -> tuple[Item, ...]:
    """Return `data.labeled_share` of the images, at least one, in their order; see there.

    Args:
        data: names share, seed and classes.
        items: images with labels.
    """
    kept = set(_part_of(data.model_dump_json(), items))
    return tuple(item for row, item in enumerate(items) if row in kept)


@lru_cache(maxsize=4)
def _part_of(settings: str, items: tuple[Item, ...]) -> tuple[int, ...]:
    data = DataConfig.model_validate_json(settings)
    order = _covering_order(presence(data, items), data.holdout_seed)
    return tuple(order[: part_size(data.labeled_share, len(items))])


def part_size(share: float, images: int) -> int:
    """Return how many images a share of them is: at least one."""
    return max(1, round(share * images))


def _covering_order(present: np.ndarray, seed: int) -> list[int]:
    """All images in a random order that shows every class early on."""
    first = _covering(present, seed)
    shuffled = np.random.default_rng(seed).permutation(len(present))
    return first + [int(row) for row in shuffled if int(row) not in set(first)]


def _covering(present: np.ndarray, seed: int) -> list[int]:
    """A few images that show every class that any shows."""
    shuffled = np.random.default_rng(seed).permutation(len(present))
    missing = present.any(axis=0)
    rarity = np.where(missing, present.sum(axis=0), len(present) + 1)
    first: list[int] = []
    while missing.any():
        rarest = int(np.argmin(np.where(missing, rarity, len(present) + 1)))
        gains = np.where(present[shuffled, rarest], present[shuffled][:, missing].sum(axis=1), -1)
        chosen = int(shuffled[int(np.argmax(gains))])
        first.append(chosen)
        missing &= ~present[chosen]
    return first


def _write(folder: Path, ids: Sequence[str], labeled: set[int]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, keep in (("labeled", True), ("unlabeled", False)):
            chosen = [image for row, image in enumerate(ids) if (row in labeled) == keep]
            (folder / f"{name}.txt").write_text("".join(f"{image}\n" for image in chosen))
    except OSError as error:
        raise UserError(f"{folder} can't be written ({error.strerror}): choose another folder") from None
