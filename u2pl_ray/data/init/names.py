"""Class names, and their values or colours, where a file beside the data says them."""

import csv
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import ImageColor

from u2pl_ray.config.schema import IGNORE
from u2pl_ray.data.lists import IMAGE_SUFFIXES

Code = int | tuple[int, int, int]
"""A mask's value, or its colour."""
_FILES = (
    "classes.json", "class_dict.csv", "label_colors.txt", "classes.txt", "class_names.txt", "labels.txt", "names.txt",
    "labelmap.txt", "codes.txt",
)  # fmt: skip


@dataclass(frozen=True)
class Names:
    """Class names in label order, and the value or colour of each where the file says it."""

    names: tuple[str, ...]
    codes: tuple[Code, ...]
    source: str


def find_names(folders: Iterable[Path]) -> tuple[Names | None, list[str]]:
    """Read the first file of class names in some folders; None where there is none that can be read. Returns notes too.

    Known are lists and {name: value} in JSON; one name a line; `name,r,g,b`; `r g b name`; `name:r,g,b::`. A file that
    names images, or more than can be classes, is passed over with a note.

    Args:
        folders: where to look, the likeliest first.
    """
    notes = []
    for path in (folder / name for folder in dict.fromkeys(folders) for name in _FILES):
        if not path.is_file():
            continue
        try:
            found = _parse(path, path.read_text("utf-8-sig"))
        except (ValueError, OSError):
            continue
        if found is None or not len(set(found.names)) == len(found.names) > 1:
            continue
        images = [name for name in found.names if name.lower().endswith(IMAGE_SUFFIXES)]
        if 2 * len(images) > len(found.names):
            notes.append(f"{path} names images (such as {images[0]}): not taken for class names")
        elif len(found.names) > IGNORE:
            notes.append(f"{path} has {len(found.names)} names, more than can be classes: not taken for class names")
        else:
            return found, notes
    return None, notes


def _parse(path: Path, text: str) -> Names | None:
    if path.suffix == ".json":
        content = json.loads(text)
        if isinstance(content, list) and all(isinstance(name, str) for name in content):
            return Names(tuple(content), (), path.name)
        if isinstance(content, dict) and all(isinstance(value, int) for value in content.values()):
            ordered = sorted(content.items(), key=lambda item: item[1])
            return Names(tuple(name for name, _ in ordered), tuple(value for _, value in ordered), path.name)
        return None
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    rows = [row for line in lines if (row := _row(line)) is not None]
    if rows:
        return Names(tuple(name for name, _ in rows), tuple(rgb for _, rgb in rows), path.name)
    if path.suffix == ".csv":
        names = [row[0].strip() for row in csv.reader(lines)]
        return Names(tuple(names), (), path.name)
    return Names(tuple(re.sub(r"^\d+\s*[:,;\t ]\s*", "", line) for line in lines), (), path.name)


def _row(line: str) -> tuple[str, tuple[int, int, int]] | None:
    """Return the name and the colour of a line that has both."""
    after = re.match(r"^(.+?)[,:;\s]+(\d{1,3})[,\s]+(\d{1,3})[,\s]+(\d{1,3})\b", line)
    before = re.match(r"^(\d{1,3})[,\s]+(\d{1,3})[,\s]+(\d{1,3})[,;\s]+(\S.*)$", line)
    if before:
        name, rgb = before[4], before.groups()[:3]
    elif after:
        name, rgb = after[1], after.groups()[1:]
    else:
        return None
    red, green, blue = (int(value) for value in rgb)
    return (name.strip(' "'), (red, green, blue)) if max(red, green, blue) < 256 else None


def color_name(rgb: tuple[int, int, int]) -> str:
    """Return a name for a class that is known by its colour alone: CSS's where it has one."""
    text = "#{:02x}{:02x}{:02x}".format(*rgb)
    # By what a name stands for: Pillow replaces the text of a colour by its numbers once it was asked for.
    known = (name for name in ImageColor.colormap if ImageColor.getrgb(name) == ImageColor.getrgb(text))
    return next(known, f"color_{text[1:]}")
