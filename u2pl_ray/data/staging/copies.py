"""Copies of data sets on a node's disk: each is made once, by one process, and used by all.

    <cache>/<name>-<digest>/           the files, with the folders of the source
    <cache>/<name>-<digest>/.complete  sizes and names, written when all are there; its time is that of the last use
    <cache>/<name>-<digest>.lock       locked by the process that copies, and says how far it is

The digest is of the place, and of the name, size and time of change of every file: a source that was changed has
another copy. A file appears in a copy whole, so one that was killed is gone on with.
"""

import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from u2pl_ray.config.errors import LostError, UserError
from u2pl_ray.data.staging.locks import Turn, hold, unused
from u2pl_ray.data.staging.sources import File, Source
from u2pl_ray.data.staging.transfer import FULL, Files, Progress, changed, transfer
from u2pl_ray.system.atomic import PARTIAL, write_whole

VARIABLE = "U2PL_RAY_DATA_CACHE"
COMPLETE = ".complete"
RESERVE = 2**30
"""Bytes of the disk that a copy leaves free, for checkpoints and temporary files."""

Say = Callable[[str], None]


def free_bytes(folder: Path) -> int:
    """Return how many bytes a user may still write on a folder's disk."""
    return shutil.disk_usage(folder).free


def digest(location: str, files: Files) -> str:
    """Return what tells states of a data set apart: a hash of its place, and of each file's name, size and time."""
    lines = [f"{name}\t{file.size}\t{file.changed}\n" for name, file in sorted(files.items())]
    return hashlib.sha256("".join([f"{location}\n", *lines]).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def size_of(files: Files) -> str:
    """Return number and size of files in words."""
    return f"{len(files)} files, {sum(file.size for file in files.values()) / 1e9:.2f} GB"


def node_copy(source: Source, cache: Path, say: Say, free: Callable[[Path], int] = free_bytes) -> tuple[Path, int]:
    """Return the folder of a complete copy, made if it is not there, and the descriptor whose lock keeps it.

    Args:
        source: the data set.
        cache: folder of all copies of this node.
        say: takes a line on the progress, at most one every few seconds.
        free: see `free_bytes`.

    Raises:
        UserError: the source or the cache cannot be used, the disk is too small, or another process is stuck.
        LostError: the store or file server does not answer.
    """
    files = source.files()
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", source.location.rstrip("/").rpartition("/")[2]).lstrip(".") or "data"
    folder = cache / f"{name}-{digest(source.location, files)}"
    try:
        held = hold(folder)
    except OSError as error:
        raise _unusable(cache, error) from None
    try:
        if not _complete(folder, files):
            with Turn(lock_of(folder), say) as turn:
                if not _complete(folder, files):  # else another made it meanwhile
                    _fill(folder, source, files, say, turn, free)
        os.utime(folder / COMPLETE)
    except BaseException as error:
        os.close(held)
        if isinstance(error, OSError) and not isinstance(error, LostError):
            raise _unusable(cache, error) from None
        raise
    return folder, held


def lock_of(folder: Path) -> Path:
    """Return the file beside a copy that is locked by the process which makes it."""
    return folder.with_name(f"{folder.name}.lock")


def _unusable(cache: Path, error: OSError) -> UserError:
    return UserError(
        f"{cache}: a copy of the data set cannot be kept there ({error.strerror or error}): set {VARIABLE} to a folder "
        "on a local disk"
    )


def _complete(folder: Path, files: Files) -> bool:
    return (folder / COMPLETE).exists() and not _missing(folder, files)


def _missing(folder: Path, files: Files) -> dict[str, File]:
    """Return the files that are not there: nothing was copied yet, or something cleared up temporary files."""

    def there(name: str, size: int) -> bool:
        try:
            return (folder / name).stat().st_size == size
        except OSError:
            return False

    return {name: file for name, file in files.items() if not there(name, file.size)}


def _fill(folder: Path, source: Source, files: Files, say: Say, turn: Turn, free: Callable[[Path], int]) -> None:
    """Copy what is missing, and say that all is there."""
    for partial in folder.rglob(f".*{PARTIAL}"):  # of a copy that was killed
        partial.unlink(missing_ok=True)
    missing = _missing(folder, files)
    _make_room(folder, source.location, sum(file.size for file in missing.values()), free)
    say(f"copying {source.location} to {folder}: {size_of(missing)}")
    for place in {(folder / name).parent for name in missing}:
        place.mkdir(parents=True, exist_ok=True)
    progress = Progress(missing, say, turn.note)
    try:
        transfer(source, missing, folder, progress)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise UserError(
            f"{folder}: its disk is full, with {progress.bytes} of {progress.total} bytes copied from "
            f"{source.location}: free the rest there, or set {VARIABLE} to a folder on a larger disk"
        ) from None
    if source.files() != files:
        for name in missing:  # some may be of another state than this copy's
            (folder / name).unlink()
        raise changed(source)
    write_whole(folder / COMPLETE, "".join(f"{file.size}\t{name}\n" for name, file in files.items()))


def _make_room(folder: Path, location: str, size: int, free: Callable[[Path], int]) -> None:
    """Delete copies that nobody uses, the longest unused first, until there is room for `size` bytes.

    Raises:
        UserError: there is not enough even so.
    """

    def last_use(copy: Path) -> float:
        with suppress(OSError):
            return (copy / COMPLETE).stat().st_mtime
        return 0.0

    cache = folder.parent
    for gone in cache.glob(f".*{PARTIAL}"):  # by a process that was killed here
        shutil.rmtree(gone, ignore_errors=True)
    copies = [Path(str(lock)[: -len(".lock")]) for lock in cache.glob("*-*.lock")]
    for copy in sorted((each for each in copies if each != folder and each.is_dir()), key=last_use):
        if free(cache) >= size + RESERVE:
            break
        gone = cache / f".{uuid.uuid4().hex}{PARTIAL}"
        with suppress(OSError), unused(copy) as idle:
            if idle:
                copy.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
    if (left := free(cache)) < size + RESERVE:
        raise UserError(
            f"{cache}: {left} bytes are free, but {location} needs {size}, and {RESERVE} stay free: make room, or set "
            f"{VARIABLE} to a folder on a larger disk"
        )
