"""Making labeled / unlabeled split files out of a fully labeled training list."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import IGNORE, DataConfig
from u2pl_ray.data.voc import list_labels, read_classes, read_label, read_list, root_of


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
    listed = root / source
    ids = read_list(listed)
    parsed = [_parse(size, len(ids)) for size in sizes]
    folders = [(Path(out) if out else root / "splits") / name for name, _ in parsed]
    if len(set(folders)) != len(folders):
        raise UserError(f"sizes {', '.join(sizes)}: two of them mean the same split")
    for folder in folders:
        for file in (folder / "labeled.txt", folder / "unlabeled.txt"):
            if file.exists():
                raise UserError(f"{file} exists already: remove it, or write elsewhere")
    order = _covering_order(_presence(root, listed, ids, len(read_classes(data))), seed)
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


def _presence(root: Path, listed: Path, ids: Sequence[str], classes: int) -> np.ndarray:
    """bool [images, classes]: whether the class has a pixel in the image."""
    files = list_labels(root)
    present = np.zeros((len(ids), classes), bool)
    for row, name in enumerate(ids):
        if name not in files:
            raise UserError(f"{listed} lists {name!r}, which has no label file: splits are made from labeled images")
        values = np.unique(read_label(files[name], classes))
        present[row, values[values != IGNORE]] = True
    return present


def _covering_order(present: np.ndarray, seed: int) -> list[int]:
    """All images in a random order that shows every class early on."""
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
    return first + [int(row) for row in shuffled if int(row) not in set(first)]


def _write(folder: Path, ids: Sequence[str], labeled: set[int]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, keep in (("labeled", True), ("unlabeled", False)):
            chosen = [image for row, image in enumerate(ids) if (row in labeled) == keep]
            (folder / f"{name}.txt").write_text("".join(f"{image}\n" for image in chosen))
    except OSError as error:
        raise UserError(f"{folder} can't be written ({error.strerror}): choose another folder") from None
