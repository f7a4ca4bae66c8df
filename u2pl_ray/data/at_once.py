"""Read many files at once."""

from collections.abc import Callable, Sequence
from multiprocessing import TimeoutError as TooLong
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import TypeVar

from u2pl_ray.config.errors import UserError

_THREADS = 8
PATIENCE = 120.0
"""Seconds without any result after which the disk or file server counts as hanging."""
_SHOWN = 20
"""Names of refused files in one line."""
S = TypeVar("S")
T = TypeVar("T")


def read_all(read: Callable[[S], T], files: Sequence[S]) -> list[T]:
    """Return `read` of each file, in their order; in threads, as decoding releases the interpreter lock.

    Args:
        read: called with a file.
        files: what to read: paths, or items with a path as `image`.

    Raises:
        UserError: a file is not read to its end; and what `read` raises.
    """
    # Not an executor: its threads are waited for at the program's end, and one that hangs would keep it for ever.
    pool = ThreadPool(_THREADS)
    results = pool.imap(read, files)
    found: list[T] = []
    try:
        for _ in files:
            found.append(results.next(PATIENCE))
    except TooLong:
        name = getattr(files[len(found)], "image", files[len(found)])
        raise UserError(f"{name}: reading it has not ended for {PATIENCE:.0f} s: does its disk answer?") from None
    finally:
        pool.terminate()  # after an error, the files that are left are not read
    return found


def read_each(read: Callable[[S], T], files: Sequence[S]) -> list[T | UserError]:
    """Return `read` of each file as `read_all` does; a file that is refused gives its error.

    Args:
        read: called with a file.
        files: what to read.
    """

    def attempt(file: S) -> T | UserError:
        try:
            return read(file)
        except UserError as error:
            return error

    return read_all(attempt, files)


def read_every(read: Callable[[Path], T], files: Sequence[Path]) -> list[T]:
    """Return `read` of each file as `read_all` does; where some are refused, one error names them all.

    Args:
        read: called with a file.
        files: paths.

    Raises:
        UserError: the first file's error, and the names of the others.
    """
    found = read_each(read, files)
    refused = {path: result for path, result in zip(files, found, strict=True) if isinstance(result, UserError)}
    if not refused:
        return [result for result in found if not isinstance(result, UserError)]
    (_, error), *others = refused.items()
    if not others:
        raise error
    shown = ", ".join(path.name for path, _ in others[:_SHOWN]) + (" ..." if others[_SHOWN:] else "")
    raise UserError(f"{error} (and {len(others)} more: {shown})")
