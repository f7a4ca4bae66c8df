"""Split files as the field writes them: ids, paths, or `image label` pairs, one image per line."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from u2pl_ray.config.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".png", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
"""In order of precedence where an id has several files; upper case is accepted too."""


def read_list(path: Path, key: str = "") -> tuple[str, ...]:
    """Read the lines of a split file, blank ones skipped. UTF-8 or UTF-16, with or without a byte order mark.

    Args:
        path: the file.
        key: the setting that named it, for messages.

    Raises:
        UserError: the file is missing, is no text, is empty, or holds a line twice.
    """
    named = f"{key}: " if key else ""
    try:
        content = path.read_bytes()
        utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        lines = content.decode("utf-16" if utf16 else "utf-8-sig").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{named}split file {path} is missing: write one image id per line there") from None
    except UnicodeDecodeError:
        raise UserError(f"{named}split file {path} can't be read: it is no text in UTF-8 or UTF-16") from None
    except OSError as error:
        raise UserError(f"{named}split file {path} can't be read: {error}") from None
    entries = [line.strip() for line in lines if line.strip()]
    if not entries:
        raise UserError(f"{named}split file {path} is empty: write one image id per line there")
    entry, count = Counter(entries).most_common(1)[0]
    if count > 1:
        raise UserError(f"{named}split file {path} lists {entry!r} {count} times: keep one line of it")
    return tuple(entries)


class Files:
    """The image or label files below one folder, found by id or path whatever their suffix and Unicode form.

    Args:
        root: the data set's folder, which paths in lists are relative to.
        folder: the images' or the labels' folder, relative to `root` or absolute.
        suffixes: file suffixes in lower case, the preferred first.
    """

    def __init__(self, root: Path, folder: str, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> None:
        self._root, self._prefix, self._suffixes = root, _key(folder) + "/", suffixes
        self.by_id = list_files(root / folder, suffixes)
        """Files by their path below the folder, without the suffix."""

    def find(self, entry: str) -> Path | None:
        """Return the file that an id or a path (from the root, or absolute) names; None if there is none."""
        for candidate in (_key(entry), self._below(entry)):
            for stem in (candidate, _without_suffix(candidate, self._suffixes)):
                if stem in self.by_id:
                    return self.by_id[stem]
        for path in (self._root / Path(entry).expanduser(), self._root / entry.lstrip("/")):
            if path.suffix.lower() in self._suffixes and os.path.isfile(path):
                return path
        return None

    def id_of(self, entry: str) -> str:
        """Return the id of an image named by an id or a path: its path without suffix and images' folder."""
        return _without_suffix(self._below(entry), self._suffixes)

    def _below(self, entry: str) -> str:
        """Return a name as it is below the folder.

        DeepLab's lists write paths from the root with a slash before them (`/JPEGImages/a.jpg`): such a path is tried
        below the root if it is no file of its own.
        """
        name = _key(entry).removeprefix(self._prefix)
        if name.startswith("/") and not os.path.isfile(entry):
            name = name.lstrip("/").removeprefix(self._prefix)
        return name


def split_entry(entry: str, images: Files) -> tuple[str, str | None]:
    """Return the image and the label (None if only one is named) of a line, parted by a tab, a comma or blanks."""
    for separator in ("\t", ","):
        if separator in entry and images.find(entry) is None:
            first, _, second = entry.partition(separator)
            return first.strip(), second.strip() or None
    if images.find(entry) is not None:  # file names may hold blanks
        return entry, None
    for match in re.finditer(r"\s+", entry):
        first, second = entry[: match.start()], entry[match.end() :]
        if images.find(first) is not None:
            return first, second
    return entry, None


def list_files(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """List the files below a folder by id (whole folders are listed: asking file by file is slow on network storage).

    Args:
        folder: searched with all folders below it; hidden ones are passed over.
        suffixes: in lower case, the preferred first.
    """
    best: dict[str, tuple[int, Path]] = {}
    for place, names in walk(folder):
        below = os.path.relpath(place, folder)
        for name in names:
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in suffixes:
                key = _key(stem if below == "." else f"{below}/{stem}")
                found = (suffixes.index(suffix.lower()), Path(place, name))
                best[key] = min(best.get(key, found), found)
    return {stem: path for stem, (_, path) in best.items()}


def walk(folder: Path, without: Path | None = None) -> Iterator[tuple[str, list[str]]]:
    """Yield a folder and all below it in order, each with its files' names; hidden ones are passed over.

    Args:
        folder: links in it are followed, but for one to a folder that it lies in.
        without: a folder that is not entered.
    """
    above = {os.fspath(folder): frozenset() if without is None else frozenset({os.path.realpath(without)})}
    for place, folders, names in os.walk(folder, followlinks=True):
        around = above.pop(place) | {os.path.realpath(place)}
        shown = (name for name in sorted(folders) if not name.startswith("."))
        folders[:] = [name for name in shown if os.path.realpath(os.path.join(place, name)) not in around]
        above |= {os.path.join(place, name): around for name in folders}
        yield place, [name for name in sorted(names) if not name.startswith(".")]


def absent(entries: Iterable[str], found: Mapping[str, object]) -> list[str]:
    """Return the entries that nothing was found for."""
    return [entry for entry in entries if found.get(entry) is None]


def _key(name: str) -> str:
    """The composed Unicode form, as macOS writes file names decomposed; without a leading `./`."""
    return unicodedata.normalize("NFC", name).replace("\\", "/").removeprefix("./")


def _without_suffix(name: str, suffixes: tuple[str, ...]) -> str:
    path = PurePosixPath(name)
    return name[: -len(path.suffix)] if path.suffix.lower() in suffixes else name
