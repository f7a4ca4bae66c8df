"""Files of a data set, copied to a folder, many at once; given up when none comes any more."""

import errno
import time
import uuid
from collections.abc import Callable, Mapping
from multiprocessing import TimeoutError as TooLong
from multiprocessing.pool import IMapIterator, ThreadPool
from pathlib import Path
from threading import Event, Lock

from u2pl_ray.config.errors import LostError, UserError
from u2pl_ray.data.staging.locks import PATIENCE, WORDS
from u2pl_ray.data.staging.sources import File, Source
from u2pl_ray.system.atomic import PARTIAL
from u2pl_ray.system.stores import refused, why

Files = Mapping[str, File]
FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a disk without room."""
THREADS = 16
_PAUSES = (1.0, 4.0, 15.0)
"""Seconds between attempts to read a file; pyarrow makes three of its own in each."""
_CHUNK = 2**23
_GRACE = 2.0
"""Seconds that copies under way get to stop and clear up."""


class Progress:
    """How far a copy is, from now on: told to whoever watches, and to the processes that wait for it.

    Args:
        files: what is to be copied.
        say: takes a line, at most one every `WORDS` seconds.
        note: takes the same for the processes that wait.
    """

    def __init__(self, files: Files, say: Callable[[str], None], note: Callable[[str], None]) -> None:
        self._say, self._note, self._lock = say, note, Lock()
        self._of, self.total = len(files), sum(file.size for file in files.values())
        self.files, self.bytes = 0, 0
        self._started = self._told = self._grew = time.monotonic()

    @property
    def complete(self) -> bool:
        """Whether all files are there."""
        return self.files == self._of

    def add(self, size: int) -> None:
        """Count some bytes, from any thread; fewer than none where a file is begun again."""
        with self._lock:
            self.bytes += size
            if size > 0:
                self._grew = time.monotonic()

    def add_file(self) -> None:
        """Count a whole file."""
        with self._lock:
            self.files += 1
            self._grew = time.monotonic()

    def silence(self) -> float:
        """Return the seconds for which no byte and no file has come."""
        with self._lock:
            return time.monotonic() - self._grew

    def tell(self) -> None:
        """Say how far it is, if that was long ago."""
        now = time.monotonic()
        if self.complete or now - self._told < WORDS:
            return
        self._told = now
        done = f"{self.files} of {self._of} files, {self.bytes / 1e9:.2f} of {self.total / 1e9:.2f} GB copied"
        self._note(done)
        left = (now - self._started) / max(1, self.bytes) * (self.total - self.bytes)
        self._say(f"{done}, {left:.0f} s left")


def transfer(source: Source, files: Files, folder: Path, progress: Progress) -> None:
    """Copy files of a source to a folder, in which their folders exist.

    Args:
        source: where they are.
        files: by path in `folder`.
        folder: takes them; after an error, some are there, each whole.
        progress: counts them.

    Raises:
        LostError: a file cannot be read after several attempts, or nothing has come for `PATIENCE` seconds.
        UserError: a file is missing, may not be read or was changed.
        OSError: of the folder's disk, one of `FULL`.
    """
    stop = Event()

    def copy(name: str) -> None:
        _copy(source, files[name], folder / name, progress.add, stop)

    # Not an executor: its threads are waited for at the program's end, and one that hangs would keep it for ever.
    pool = ThreadPool(THREADS)
    copied = pool.imap_unordered(copy, files)
    try:
        while not progress.complete:
            try:
                copied.next(WORDS)
                progress.add_file()
            except TooLong:
                if progress.silence() > PATIENCE:
                    raise _hanging(source, files, folder) from None
            progress.tell()
    finally:
        stop.set()
        _let_stop(copied)
        pool.terminate()


def changed(source: Source) -> UserError:
    """Return the error for a source that is not the same at the end of its copy."""
    return UserError(f"data.root={source.location}: was changed while it was copied: start again afterwards")


def _hanging(source: Source, files: Files, folder: Path) -> LostError:
    there = [(folder / name).exists() for name in files]
    path = list(files.values())[there.index(False) if False in there else -1].path
    return LostError(
        f"data.root={source.location}: nothing has come from there for {PATIENCE:.0f} s, with {sum(there)} of "
        f"{len(there)} files copied, and not {path}: does the store or file server answer?"
    )


def _let_stop(copied: "IMapIterator[None]") -> None:
    """Wait for the copies under way, which stop by themselves, but not for one that hangs."""
    while True:
        try:
            copied.next(_GRACE)
        except (TooLong, StopIteration):
            return
        except Exception:  # the first one is raised, not those that followed
            pass


def _copy(source: Source, file: File, target: Path, add: Callable[[int], None], stop: Event) -> None:
    """Copy a file, which appears whole or not at all; what fails in passing is tried again."""
    # A name of its own: one that hung is left behind, and may wake when another process copies the same file.
    partial = target.with_name(f".{uuid.uuid4().hex}{PARTIAL}")
    for pause in (*_PAUSES, None):
        if stop.is_set():
            return
        copied = 0
        try:
            with source.open(file) as stream, partial.open("wb") as written:
                while not stop.is_set() and (chunk := stream.read(_CHUNK)):
                    written.write(chunk)
                    add(len(chunk))
                    copied += len(chunk)
            if stop.is_set():
                return
            if copied != file.size:
                raise changed(source)
            partial.replace(target)
            return
        except OSError as error:
            failure = error
        finally:
            partial.unlink(missing_ok=True)
        add(-copied)
        if failure.errno in FULL:
            raise failure
        if isinstance(failure, FileNotFoundError | PermissionError) or refused(failure):
            raise UserError(f"data.root={source.location}: {file.path} cannot be read ({why(failure)})")
        if pause is not None:
            stop.wait(pause)
    raise LostError(f"data.root={source.location}: {file.path} cannot be read: {why(failure)}")
