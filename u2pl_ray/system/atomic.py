"""Files and folders that appear whole: a kill at any moment leaves the old state or the new one."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial"
"""Ending of what is being written; readers pass over it."""


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace a file by `content`, durably.

    Args:
        path: the file; its folder is made if there is none.
        content: bytes, or text, which is written as UTF-8.

    Raises:
        OSError: it could not be written; the file is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")  # of two writers at once, the last one's stays
    try:
        with partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder to fill, which takes the place of `target` at the end; nothing is left after an error.

    Raises:
        OSError: it could not be written; `target` is as it was, or gone if it was just being replaced.
    """
    partial = target.with_name(f".{target.name}{PARTIAL}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
