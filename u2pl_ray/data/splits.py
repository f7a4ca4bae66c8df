"""Making labeled / unlabeled split files out of a fully labeled training list."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import IGNORE, DataConfig
from u2pl_ray.data.lists import read_list
from u2pl_ray.data.voc import Item, listed, read_classes, read_label, root_of

_THREADS = 8


def make_splits(
    data: DataConfig,
    sizes: Sequence[str],
    seed: int = 0,
    source: str = "ImageSets/Segmentation/train.txt",
    out: str | None = None,
) -> list[Path]:
    """Write `<out>/<size>/labeled.txt` and `unlabeled.txt` for each size; nothing that exists is overwritten.

    The splits are nested: a larger one holds the labeled images of every smaller one. Each shows every class if
    so few images can: the order is random, but begins with an image of the rarest class, then one of the rarest
    class not shown yet, and so on, among those the image that shows the most classes not shown yet.

    Args:
        data: gives the root and the classes.
        sizes: labeled images each, as a fraction ("1/8", "0.125") or a count ("92"); the folder is named after
            it ("1_8", "92").
        seed: of the random order.
        source: list of training ids, relative to the root or absolute; each needs its label.
        out: folder for the splits; None: `splits` in the root.

    Returns:
        The folders, in the order of `sizes`.

    Raises:
        UserError: a size that is no part of the list, a file that exists, anything wrong with the labels.
    """
    root = root_of(data)
    ids = read_list(root / source)
    parsed = [_parse(size, len(ids)) for size in sizes]
    folders = [(Path(out) if out else root / "splits") / name for name, _ in parsed]
    if len(set(folders)) != len(folders):
        raise UserError(f"sizes {', '.join(sizes)}: two of them mean the same split")
    for folder in folders:
        for file in (folder / "labeled.txt", folder / "unlabeled.txt"):
            if file.exists():
                raise UserError(f"{file} exists already: remove it, or write elsewhere")
    order = _covering_order(_presence_of_ids(data, source), seed)
    for folder, (_, count) in zip(folders, parsed, strict=True):
        _write(folder, ids, set(order[:count]))
    return folders


def _parse(size: str, total: int) -> tuple[str, int]:
    """Folder name and number of labeled images."""
    counted = size.strip().isdecimal()
    try:
        value = Fraction(size.strip())
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if not counted and not 0 < value < 1:
        raise UserError(f"split size {size!r}: write a fraction below 1 such as 1/8, or a number of images")
    count = int(value) if counted else round(value * total)
    if not 1 <= count < total:
        raise UserError(f"split size {size!r} makes {count} of {total} images labeled: between 1 and {total - 1} fit")
    return (str(value).replace("/", "_"), count)


def _presence_of_ids(data: DataConfig, source: str) -> np.ndarray:
    """`presence` of the images in a list, each of which needs its label."""
    items = listed(data.model_copy(update={"labeled": source}), "labeled", labels=False)
    for item in items:
        if item.label is None:
            raise UserError(f"{source} lists {item.id!r}, which has no label file: splits are made from labeled images")
    return presence(data, items)


def presence(data: DataConfig, items: Sequence[Item]) -> np.ndarray:
    """Return bool [images, classes]: whether the class has a pixel in the image's label."""
    classes = len(read_classes(data))

    def row(item: Item) -> np.ndarray:
        assert item.label is not None
        return np.bincount(read_label(item.label, classes, data).ravel(), minlength=IGNORE + 1)[:classes] > 0

    with ThreadPoolExecutor(_THREADS) as pool:
        return np.array(list(pool.map(row, items)))


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
