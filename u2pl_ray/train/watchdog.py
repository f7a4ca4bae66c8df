"""Nothing waits for ever: a worker says what it waits for, and is ended when that takes too long."""

import faulthandler
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from u2pl_ray.system.periodic import every

LOOK = 5.0
"""Seconds between two looks."""
NAMED = 10.0
"""Seconds after which a wait is told at every look."""
LIFE = 30.0
"""Seconds between two signs of life of a worker that waits for nothing."""
ENDED = 70
"""Exit code of a process that waited too long."""
_FROZEN = 60.0
"""Seconds after which a process is ended whose threads can't run (C code that never gives the interpreter back)."""


class Watchdog:
    """Watches what this process waits for, from a thread.

    Args:
        limit: seconds that one wait may take.
        tell: called with what is waited for, and since how many seconds.
        say: called with what was waited for before the process is ended.
        end: ends the process; given in tests.
    """

    def __init__(
        self,
        limit: float,
        tell: Callable[[str, float], None],
        say: Callable[[str], None],
        end: Callable[[int], None] = os._exit,
    ) -> None:
        self._limit, self._tell, self._say, self._end = limit, tell, say, end
        self._now = ("its start", time.monotonic(), limit)
        self._told = 0.0

    def at(self, what: str, limit: float | None = None) -> None:
        """Say what this process waits for from now on; cheap enough for every step.

        Args:
            what: the wait's name.
            limit: seconds that this wait may take, where that is not the usual limit.
        """
        self._now = (what, time.monotonic(), self._limit if limit is None else limit)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch within."""
        try:
            with every(LOOK, self.look, "watchdog"):
                yield
        finally:
            faulthandler.cancel_dump_traceback_later()

    def look(self) -> None:
        """Tell of a wait; end the process at the limit, with the stack of every thread on stderr."""
        what, since, limit = self._now
        now = time.monotonic()
        waited = now - since
        if waited > limit:
            with suppress(Exception):
                self._say(f"waited {waited:.0f} s for {what}")
            faulthandler.dump_traceback(sys.__stderr__ or sys.stderr)
            self._end(ENDED)
            return
        # Before `tell`, which may fail: put off with every look, so that only a frozen process gets that far.
        faulthandler.dump_traceback_later(self._limit + _FROZEN, exit=True, file=sys.__stderr__ or sys.stderr)
        if waited >= NAMED or now - self._told >= LIFE:
            self._told = now
            self._tell(what, waited)
