"""Where a data set comes from, a folder or an object store, and which of its files a configuration reads.

Only those are copied: beside the images there may be other splits, other kinds of masks, a whole bucket. They are found
by the code that opens the splits, so that no second one has to agree with it. On a store it looks at a folder of empty
files of the same names.
"""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from u2pl_ray.config.data import DataConfig
from u2pl_ray.config.errors import LostError, UserError
from u2pl_ray.data.at_once import read_all
from u2pl_ray.data.lists import IMAGE_SUFFIXES
from u2pl_ray.data.voc import CLASSES_FILE, LABEL_SUFFIXES, SPLITS, holds_out, listed, root_of
from u2pl_ray.system.scratch import scratch
from u2pl_ray.system.stores import open_store, unanswered, why

_LOOKED_AT = {*IMAGE_SUFFIXES, *LABEL_SUFFIXES}


@dataclass(frozen=True)
class File:
    """A file of a source: `path` opens it, `size` is in bytes, `changed` the time of its last change, in ns."""

    path: str
    size: int
    changed: int


class Source(Protocol):
    """A data set's place.

    Attributes:
        location: as `data.root` says it, absolute.
        root: the data root's path in a copy, which has the same folders.
    """

    location: str
    root: str

    def files(self) -> dict[str, File]:
        """Return what the configuration reads from here, by path in a copy, sorted.

        Raises:
            UserError: something is missing, or the place cannot be read.
            LostError: the store does not answer.
        """

    def open(self, file: File) -> BinaryIO:
        """Open a file for reading; OSError as the file system raises it."""


class FolderSource:
    """A `Source` in a folder that is mounted on this machine.

    Args:
        data: its root is an absolute path.
    """

    def __init__(self, data: DataConfig) -> None:
        self._data, self.location, self.root = data, data.root, data.root.lstrip("/")

    def files(self) -> dict[str, File]:
        """See `Source`."""
        try:
            found = {os.path.normpath(path).lstrip("/"): str(path) for path in _read(self._data)}
            names = sorted(found)
            states = read_all(os.stat, [found[name] for name in names])  # a file server takes its time for each
        except OSError as error:  # gone since it was listed, a damaged disk, a file handle that the server forgot
            file = error.filename or self.location
            raise UserError(f"data.root={self.location}: {file} cannot be read ({error.strerror or error})") from None
        return {
            name: File(found[name], state.st_size, state.st_mtime_ns) for name, state in zip(names, states, strict=True)
        }

    def open(self, file: File) -> BinaryIO:
        """See `Source`."""
        return open(file.path, "rb")


class StoreSource:
    """A `Source` below a URI.

    Args:
        data: its root is a URI.

    Raises:
        UserError: the URI cannot be used.
    """

    def __init__(self, data: DataConfig) -> None:
        self._data, self.location = data, data.root
        try:
            self._store, self._path = open_store(data.root)
        except ValueError as error:
            raise UserError(f"data.root={error}") from None
        self.root = self._path.lstrip("/")

    def files(self) -> dict[str, File]:
        """See `Source`."""
        there = self._asked(self._list)
        with scratch() as shadow:
            for name in there:
                place = shadow / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
            root = shadow / self.root
            for name in {os.path.normpath(self.root + "/" + each) for each in _split_files(self._data)} & there.keys():
                (shadow / name).write_bytes(self._asked(self._content, there[name]))
            try:
                read = _read(self._data.model_copy(update={"root": str(root)}))
            except UserError as error:
                said = str(error).replace(str(root), self.location)
                raise UserError(said.replace(f"{shadow}/", f"{self.location.partition('://')[0]}://")) from None
            names = {os.path.relpath(os.path.normpath(path), shadow) for path in read}
        return {name: there[name] for name in sorted(names)}

    def open(self, file: File) -> BinaryIO:
        """See `Source`."""
        stream: BinaryIO = self._store.open_input_stream(file.path)
        return stream

    def _list(self) -> dict[str, File]:
        """Return what may be read of all that is stored there."""
        from pyarrow import fs

        data = self._data
        folders = {os.path.normpath(f"{self._path}/{name}") for name in (".", data.images, data.labels)}
        lists = [os.path.normpath(f"{self._path}/{name}") for name in _split_files(data)]
        found: list[Any] = self._store.get_file_info(lists)
        for folder in folders:
            if not any(folder.startswith(f"{other}/") for other in folders):
                found += self._store.get_file_info(fs.FileSelector(folder, recursive=True))
        kept = {f"{self._path}/{CLASSES_FILE}", *lists}
        return {
            info.path.lstrip("/"): File(info.path, info.size, info.mtime_ns or 0)
            for info in found
            if info.is_file and (os.path.splitext(info.path)[1].lower() in _LOOKED_AT or info.path in kept)
        }

    def _content(self, file: File) -> bytes:
        with self._store.open_input_stream(file.path) as stream:
            content: bytes = stream.read()
        return content

    def _asked(self, question: Callable[..., Any], *arguments: Any) -> Any:
        """Return what the store answers; its errors in a line."""
        try:
            return question(*arguments)
        except FileNotFoundError:
            raise UserError(f"data.root={self.location}: there is nothing at this place") from None
        except OSError as error:
            kind = LostError if unanswered(error) else UserError
            raise kind(f"data.root={self.location}: {why(error)}") from None


def source_of(data: DataConfig, is_uri: bool) -> Source:
    """Return where a data set is.

    Args:
        data: its root is absolute.
        is_uri: whether it is a URI.
    """
    return StoreSource(data) if is_uri else FolderSource(data)


def _split_files(data: DataConfig) -> list[str]:
    """Return the names of the split files that lie relative to the root."""
    named = [os.path.expanduser(name) for split in SPLITS if (name := getattr(data, split)) is not None]
    return [name for name in named if not os.path.isabs(name)]


def _read(data: DataConfig) -> set[Path]:
    """Return the files that a configuration reads relative to its root, a folder; what is named absolutely is left.

    Raises:
        UserError: a split file, an image or a label is missing.
    """
    data = data.model_copy(update={"stage": "never"})
    root = root_of(data)
    found: set[Path] = set()
    # Whether `data.classes` is set or not: a resolved configuration has the same copy as the one it was made of.
    with suppress(OSError):
        if (root / CLASSES_FILE).is_file():
            found.add(root / CLASSES_FILE)
    for split in SPLITS:
        name = getattr(data, split)
        if name is None:
            continue
        path = root / os.path.expanduser(name)
        unread = split == "val" and holds_out(data)  # by a training; `evaluate` may
        if (split == "test" or unread) and not path.is_file():
            continue  # not needed to train; `check` warns of it
        items = listed(data, split, labels=split != "unlabeled" and not unread)
        found |= _relative(name, [path])
        found |= _relative(data.images, [item.image for item in items])
        found |= _relative(data.labels, [item.label for item in items if item.label is not None])
    return {path for path in found if str(path).startswith(f"{root}/")}


def _relative(setting: str, paths: Iterable[Path]) -> set[Path]:
    return set() if os.path.isabs(os.path.expanduser(setting)) else set(paths)
