"""Handle Ctrl-C and SIGTERM: the first stops the search such that `resume` continues, the second at once."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_STOPPING = "stopping; every trial keeps its last checkpoint (once more: stop at once)"
AGAIN = 75
"""Exit code: stopped on notice, start it again."""
_STOPPED = "stopped at once; `u2pl-ray resume` goes on from the last checkpoints"


def end_now(line: str) -> NoReturn:
    """End this process with `AGAIN`. Nothing is cleaned up, as that could wait for what is gone: resume needs none.

    Args:
        line: why, and what to do, for stderr.
    """
    print(line, file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(AGAIN)


def end_softly() -> None:
    """Stop the search as a first Ctrl-C does, without its message. Outside the main thread only the trials end."""
    if threading.current_thread() is threading.main_thread():
        signal.raise_signal(signal.SIGUSR1)


@contextmanager
def stop_softly(say: Callable[[str], None], asked: list[int]) -> Iterator[Callable[[], None]]:
    """Pass a first SIGINT or SIGTERM to Ray Tune as its soft stop (SIGUSR1) while the context is entered.

    Args:
        say: called with a message for the user when that happens.
        asked: receives the signal's number when Tune is to stop; Tune itself does not look while its searcher has no
            trial for it.

    Yields:
        A function to call once Tune handles the signal; until then the signals have their usual effect.
    """
    handled = (signal.SIGINT, signal.SIGTERM)
    in_main_thread = threading.current_thread() is threading.main_thread()
    original = {kind: signal.getsignal(kind) for kind in (*handled, signal.SIGUSR1)}

    def stop_at_once(number: int, frame: FrameType | None) -> None:
        say(_STOPPED)
        os._exit(AGAIN)  # no clean-up, which could wait for something: resume needs none

    def stop(number: int, frame: FrameType | None) -> None:
        for kind in handled:
            signal.signal(kind, stop_at_once)
        say(_STOPPING)
        signal.raise_signal(signal.SIGUSR1)

    def arm() -> None:
        if in_main_thread:
            of_tune = signal.getsignal(signal.SIGUSR1)

            def stop_tune(number: int, frame: FrameType | None) -> None:
                asked.append(number)
                if callable(of_tune):
                    of_tune(number, frame)

            signal.signal(signal.SIGUSR1, stop_tune)
            for kind in handled:
                signal.signal(kind, stop)

    try:
        yield arm
    finally:
        if in_main_thread:
            for kind, handler in original.items():
                signal.signal(kind, handler)
