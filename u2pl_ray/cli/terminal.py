"""A search outlives its terminal: a closed window, a lost connection, a pipe whose reader has gone."""

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

_GONE = (errno.EPIPE, errno.EIO)
"""What writing fails with when nobody reads a pipe any more, and when a terminal is gone."""


class Outlet:
    """A stream whose output is dropped from the moment on when nobody can read it.

    Args:
        stream: standard output or error.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, see `TextIO`."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        """Flush, see `TextIO`."""
        try:
            self._stream.flush()
        except OSError as error:
            self._drop(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _drop(self, error: OSError) -> None:
        if error.errno not in _GONE:
            raise error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())  # what is still in its buffer goes there, too
        os.close(nowhere)


@contextmanager
def outlive_terminal() -> Iterator[None]:
    """Within: SIGHUP is ignored, by the processes started meanwhile too, and output that nobody can read is dropped."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN) if main else None
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (Outlet(stream) for stream in streams)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = streams
        if main:
            signal.signal(signal.SIGHUP, before if before is not None else signal.SIG_DFL)
