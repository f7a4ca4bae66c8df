"""The files below a folder: those that can be read, and what the others are."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from u2pl_ray.data.lists import IMAGE_SUFFIXES, walk
from u2pl_ray.data.voc import LABEL_SUFFIXES

_READ = {*IMAGE_SUFFIXES, *LABEL_SUFFIXES}
_OTHERS = {
    ".heic", ".heif", ".avif", ".jfif", ".jpe", ".jp2", ".j2k", ".jxl", ".ppm", ".pgm", ".pnm", ".tga", ".psd",
    ".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw",
}  # fmt: skip
"""Pictures that are not read: phones', cameras', and old or rare formats."""
POLYGONS = (".json", ".xml", ".txt")
"""What programs for drawing write outlines into."""
_SHOWN = 3


def pictures_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the pictures below a folder, in order of name, and those of kinds that are not read.

    Hidden files are passed over.

    Args:
        folder: the folder.
    """
    read, others = list[Path](), list[Path]()
    for place, names in walk(folder):
        here = [Path(place, name) for name in names]
        read += [path for path in here if path.suffix.lower() in _READ]
        others += [path for path in here if path.suffix.lower() in _OTHERS]
    return read, others


def without_copies(files: Iterable[Path], known: Iterable[Path]) -> list[Path]:
    """Return the files without those that lie beside another of the same name, as cameras write one picture twice.

    Args:
        files: pictures.
        known: the others.
    """
    names = {(path.parent, path.stem.lower()) for path in known}
    return [path for path in files if (path.parent, path.stem.lower()) not in names]


def not_read(others: Sequence[Path]) -> str:
    """Return one line on pictures of kinds that are not read.

    Args:
        others: these pictures, at least one.
    """
    kinds = ", ".join(sorted({path.suffix.lower() for path in others}))
    return f"{len(others)} files of other kinds ({kinds}) are not read: convert them to JPEG or PNG"


def contents(folder: Path, among: Collection[str] = ()) -> str:
    """Return how many files of which kinds are below a folder without masks, and what to do with them.

    Args:
        folder: the folder.
        among: suffixes that are looked for; empty: all.
    """
    found = Counter(os.path.splitext(name)[1].lower() for _, names in walk(folder) for name in names)
    kinds = [kind for kind, _ in found.most_common() if not among or kind in among][:_SHOWN]
    if not kinds:
        return ""
    advice = (
        "export polygons as masks (PNG)" if set(kinds) <= {*POLYGONS} else "save masks as PNG, named like their images"
    )
    return ", ".join(f"{found[kind]} {kind or 'other'} files" for kind in kinds) + f": {advice}"
