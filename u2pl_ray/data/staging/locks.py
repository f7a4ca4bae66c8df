"""Locks of copies, by which the processes of a node agree. The system takes them from a process that dies.

A copy's folder is locked by all that use it together, so that nobody deletes it under them; a file beside it by the one
that fills it.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from u2pl_ray.config.errors import UserError

PATIENCE = 600.0
"""Seconds for which a process is waited for that makes no progress."""
WORDS = 5.0
"""Seconds between two lines on the progress."""
_POLL = 0.2


def hold(folder: Path) -> int:
    """Make a folder if there is none, and keep others from deleting it; return the descriptor that holds the lock.

    Raises:
        OSError: the folder cannot be made or locked.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if folder.exists() and os.path.samestat(os.fstat(descriptor), folder.stat()):
                return descriptor
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # deleted between the two


@contextmanager
def unused(folder: Path) -> Iterator[bool]:
    """Yield whether nobody holds a folder; nobody can while the context lasts."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


class Turn:
    """The right to fill a copy, as a context: one process of the node has it, the others wait and say for whom.

    Args:
        path: the file beside the copy.
        say: takes a line, at most one every `WORDS` seconds.
        patience: see `PATIENCE`.

    Raises:
        UserError: (on entering) the process that has the turn made no progress for so long.
    """

    def __init__(self, path: Path, say: Callable[[str], None], patience: float = PATIENCE) -> None:
        self._path, self._say, self._patience = path, say, patience

    def __enter__(self) -> "Turn":
        self._file = self._path.open("a+")
        try:
            self._wait()
        except BaseException:
            self._file.close()
            raise
        self.note("begins")
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def note(self, progress: str) -> None:
        """Tell the processes that wait how far this one is."""
        self._file.seek(0)
        self._file.truncate()
        self._file.write(f"process {os.getpid()}: {progress}")
        self._file.flush()

    def _wait(self) -> None:
        heard, since = "", time.monotonic()
        said = since - WORDS
        while True:
            try:
                return fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            time.sleep(_POLL)
            now, words = time.monotonic(), self._path.read_text("utf-8")
            if words != heard:
                heard, since = words, now
            elif now - since > self._patience:
                raise UserError(
                    f"{self._path}: waited {self._patience:.0f} s for a process that copies a data set and gets no "
                    f"further ({heard}): end it, or set data.stage=never"
                )
            if now - said >= WORDS:
                said = now
                self._say(f"waiting for another copy of the same data ({words})")
