"""Marks, which hold a lease: a file, or an object in a store."""

import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from u2pl_ray.search.storage import layout
from u2pl_ray.search.storage.object_store import Objects
from u2pl_ray.system.atomic import PARTIAL

_SETTLE = 1.0
"""Seconds to wait for other drivers that write the same object at the same moment."""


class Mark(Protocol):
    """A small file or object that at most one owner holds."""

    name: str

    def read(self) -> bytes:
        """Return its content; empty, or FileNotFoundError, if there is none."""

    def touched(self) -> float:
        """Return when it was written or touched (seconds since 1970); 0 if there is none."""

    def take(self, content: bytes, is_free: Callable[[], bool]) -> bool:
        """Write `content` if nobody holds the mark; return whether it was written.

        Of several drivers that try at once, one succeeds.

        Args:
            content: describes the new owner.
            is_free: tells, when called, whether the present content is no living owner's.
        """

    def write(self, content: bytes) -> None:
        """Replace its content, whoever holds it."""

    def touch(self, content: bytes) -> None:
        """Renew the time stamp to show that the owner, who wrote `content`, lives."""

    def remove(self) -> None:
        """Remove it if it is there."""


class FileMark:
    """A `Mark` in a file, on a file system that machines may share.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path, self.name = path, path.name

    def read(self) -> bytes:
        """See `Mark`."""
        return self._path.read_bytes()

    def touched(self) -> float:
        """See `Mark`."""
        try:
            return self._path.stat().st_mtime
        except OSError:
            return 0.0

    def take(self, content: bytes, is_free: Callable[[], bool]) -> bool:
        """See `Mark`. A hard link makes the file appear together with its content."""
        partial = self._partial(content)
        try:
            os.link(partial, self._path)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            try:
                with self._path.open("xb") as file:
                    file.write(content)
            except FileExistsError:
                return False
        finally:
            partial.unlink()
        return True

    def write(self, content: bytes) -> None:
        """See `Mark`."""
        self._partial(content).replace(self._path)

    def touch(self, content: bytes) -> None:
        """See `Mark`."""
        os.utime(self._path)

    def remove(self) -> None:
        """See `Mark`."""
        self._path.unlink(missing_ok=True)

    def _partial(self, content: bytes) -> Path:
        partial = self._path.with_name(f"{self.name}.{uuid.uuid4().hex}{PARTIAL}")
        partial.write_bytes(content)
        return partial


class ObjectMark:
    """A `Mark` in an object that its owner rewrites while it lives.

    pyarrow has no conditional write. So a driver writes, waits for others that did so at the same moment, and reads
    whose content remained. An owner that was taken for dead although it lives sees at its next beat that it lost.

    Args:
        objects: the experiment's.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects, self.name = objects, layout.LEASE

    def read(self) -> bytes:
        """See `Mark`."""
        return self._objects.read(self.name) or b""

    def touched(self) -> float:
        """See `Mark`; by the store's clock."""
        return self._objects.touched(self.name)

    def take(self, content: bytes, is_free: Callable[[], bool]) -> bool:
        """See `Mark`."""
        if not is_free():
            return False
        self.write(content)
        time.sleep(_SETTLE)
        return self.read() == content

    def write(self, content: bytes) -> None:
        """See `Mark`."""
        self._objects.write(self.name, content)

    def touch(self, content: bytes) -> None:
        """See `Mark`."""
        self.write(content)

    def remove(self) -> None:
        """See `Mark`."""
        self._objects.delete(self.name)
