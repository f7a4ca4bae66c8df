"""Temporary folders that are cleared up after their owner even if it was killed: by the next process that needs one.

An owner holds a lock on its folder, which the system takes from it when it dies. Names tell machines apart, as some
share their temporary folder and not their locks.
"""

import fcntl
import functools
import os
import platform
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_YOUNG = 60.0
"""Seconds in which a folder may not be locked yet."""


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder in the system's temporary folder, deleted afterwards with what is (still) in it."""
    _clear_up(tempfile.gettempdir())
    folder = Path(tempfile.mkdtemp(prefix=_prefix()))
    lock = _lock(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


@functools.cache  # once in a process
def _clear_up(where: str) -> None:
    """Delete the folders of this machine's dead processes."""
    for folder in Path(where).glob(f"{_prefix()}*"):
        with suppress(OSError):  # another clears it up at the same moment, or it is another user's
            if time.time() - folder.stat().st_mtime > _YOUNG and (lock := _lock(folder)) is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _lock(folder: Path) -> int | None:
    """A descriptor that holds the folder's lock; None if another has it, or the file system knows no locks."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _prefix() -> str:
    return f"u2pl_ray_{uuid.uuid5(uuid.NAMESPACE_DNS, platform.node()).hex[:8]}_"
