"""Looking over a data set before anything is started on it."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import IGNORE, Config, DataConfig
from u2pl_ray.data import overlaps, turned_masks
from u2pl_ray.data.at_once import read_each
from u2pl_ray.data.image_files import read_size
from u2pl_ray.data.orientation import SIDEWAYS, tag_of
from u2pl_ray.data.percent import percent
from u2pl_ray.data.registry import resolve
from u2pl_ray.data.voc import (
    Item,
    drawn_on_stored,
    open_split,
    open_training_splits,
    read_item,
    refuse_sizes,
    root_of,
    with_labels,
)

SMALL = 1000
"""Sets of up to so many images are always checked in full: that takes a second or two."""
FEW_VAL = 5
"""With fewer validation images than this, the check says how little they tell."""


@dataclass(frozen=True)
class SplitReport:
    """What is in one split."""

    name: str
    images: int
    labels: int
    """Images that have a label file."""
    pixels: tuple[int, ...]
    """Labeled pixels of each class; empty where the label values were not read."""
    ignored: int
    """Pixels labeled 255."""


@dataclass(frozen=True)
class DataReport:
    """The outcome of `check`: what there is, and what is odd about it. What is wrong is raised instead."""

    root: str
    classes: tuple[str, ...]
    splits: tuple[SplitReport, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For people: the splits, then the share of each class among the labeled pixels of each split."""
        lines = [f"{self.root}: {len(self.classes)} classes"]
        lines += [f"  {split.name:<10} {split.images:>6} images, {split.labels} labels" for split in self.splits]
        counted = [split for split in self.splits if split.pixels]
        if counted:
            width = max(len(name) for name in self.classes)
            lines.append("share of labeled pixels, %".ljust(width + 2) + _row(split.name for split in counted))
            for index, name in enumerate(self.classes):
                shares = (split.pixels[index] / max(1, sum(split.pixels)) for split in counted)
                lines.append(f"  {name:<{width}}" + _row(map(percent, shares)))
        return lines


def check(config: Config, full: bool = True) -> DataReport:
    """Check a data set; used before a training or a search (fast).

    Full: every image and label is decoded, and near-duplicates of val and test images are searched for. Fast: every
    file exists, sizes agree by their headers, the labeled split is decoded; sets of at most `SMALL` images are decoded
    all the same.

    Raises:
        UserError: for the first thing that is wrong, naming the file.
    """
    report, problems = examine(config, full)
    if problems:
        more = len(problems) - 1
        hint = f" (and {more} more bad file{'s' * (more > 1)}: u2pl-ray data check lists them all)" if more else ""
        raise UserError(problems[0] + hint)
    return report


def examine(config: Config, full: bool = True) -> tuple[DataReport, list[str]]:
    """Check a data set as `check` does, but return what is wrong with single files, all of it, one line each.

    Raises:
        UserError: something is wrong with the set as a whole, such as a missing list.
    """
    config = resolve(config)
    data, warnings = config.data, []
    labeled, unlabeled = open_training_splits(data)
    if config.method.semi_supervised and not unlabeled:
        raise UserError(
            f"data.unlabeled is null, but method.name={config.method.name} learns from unlabeled images: name their "
            "split file, or use method.name=supervised"
        )
    if config.method.traits.all_labels:
        with_labels(unlabeled, config.method.name)
    splits = {"labeled": labeled, "unlabeled": unlabeled, "val": open_split(data, "val")}
    if data.test is None:
        warnings.append("data.test is null: there are no test images; `evaluate` needs --split val")
    elif (root_of(data) / Path(data.test).expanduser()).is_file():
        splits["test"] = open_split(data, "test")
    else:
        warnings.append(f"data.test: split file {data.test} is missing: `evaluate` will need it for its test score")
    if (few := len(splits["val"])) < FEW_VAL:
        warnings.append(
            f"val has {few} image{'s' * (few != 1)}: what is better on so few need not be better on other photographs, "
            "however many seeds agree; label more for val, ten at least, before you trust small differences"
        )
    alike, full = full, full or sum(len(items) for items in splits.values()) <= SMALL
    problems: list[str] = []
    reports = tuple(_examine(name, items, data, full or name == "labeled", problems) for name, items in splits.items())
    if not problems:
        _refuse_one_class(reports[0], data)
    warnings += overlaps.same_images(splits)
    if config.method.semi_supervised:
        warnings += overlaps.same_scenes(splits)
    read = [item for name, items in splits.items() if full or name == "labeled" for item in items]
    warnings += turned_masks.warnings_of(read, data)
    if alike and not problems:
        warnings += overlaps.near_duplicates_across(splits)
    for report in reports:
        missing = [name for name, count in zip(data.classes, report.pixels, strict=False) if count == 0]
        if missing and report.name != "unlabeled":
            warnings.append(
                f"split file {getattr(data, report.name) or data.labeled}: no image has a pixel labeled "
                f"{', '.join(missing)}: "
                + ("it can't be learned" if report.name == "labeled" else "it does not count in the mIoU")
            )
    return DataReport(data.root, data.classes, reports, tuple(warnings)), problems


def _refuse_one_class(labeled: SplitReport, data: DataConfig) -> None:
    """Raise `UserError` where the labeled images show fewer than two classes: nothing can be learned from them."""
    shown = [name for name, count in zip(data.classes, labeled.pixels, strict=True) if count]
    if len(shown) >= 2:
        return
    cure = "check how the masks are coded (data.label_map, data.ignore_value, data.label_coding)"
    if labeled.ignored and data.ignore_value == IGNORE and not data.label_map and data.label_coding == "index":
        cure = (
            f"{labeled.ignored} pixels are 255, which means ignored: if these are 0/255 masks, "
            "set data.label_map={255: 1}"
        )
    raise UserError(
        f"data.labeled={data.labeled}: all labeled pixels are of "
        f"{f'one class ({shown[0]})' if shown else 'no class'}, so nothing can be learned: {cure}"
    )


def _examine(name: str, items: Sequence[Item], data: DataConfig, decode: bool, problems: list[str]) -> SplitReport:
    """Look at the files of a split, and append what is wrong with them to `problems`."""
    classes, labels = len(data.classes), sum(item.label is not None for item in items)
    look = (lambda item: _count(item, data)) if decode else (lambda item: _compare_headers(item, data))
    found = read_each(look, items)
    problems += [str(result) for result in found if isinstance(result, UserError)]
    if not decode:
        return SplitReport(name, len(items), labels, (), 0)
    counts = sum((result for result in found if isinstance(result, np.ndarray)), np.zeros(IGNORE + 1, np.int64))
    pixels = tuple(int(count) for count in counts[:classes]) if labels else ()
    return SplitReport(name, len(items), labels, pixels, int(counts[IGNORE]))


def _count(item: Item, data: DataConfig) -> np.ndarray:
    """Pixels by label value, int64 [256]; zeros for an image without a label."""
    _, label = read_item(item, len(data.classes), data)
    counted = label if item.label is not None else np.empty(0, np.uint8)
    return np.bincount(counted.ravel(), minlength=IGNORE + 1)


def _compare_headers(item: Item, data: DataConfig) -> None:
    size = read_size(item.image)
    if item.label is not None:
        label = read_size(item.label)
        if drawn_on_stored(item, size, label, data) and tag_of(item.image) >= SIDEWAYS:
            label = label[::-1]
        refuse_sizes(item, size, label)


def _row(cells: Iterable[str]) -> str:
    return "".join(f"{cell:>12}" for cell in cells)
