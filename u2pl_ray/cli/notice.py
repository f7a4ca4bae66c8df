"""A job queue's notice, before and after Ray Tune listens to it: SIGTERM and SIGUSR1 end the program as Ctrl-C does."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_NOTICES = (signal.SIGTERM, signal.SIGUSR1)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def heed_notice() -> Iterator[None]:
    """Within: SIGTERM and SIGUSR1 raise KeyboardInterrupt. Not in other threads than the main one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {kind: signal.signal(kind, _interrupt) for kind in _NOTICES}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler if handler is not None else signal.SIG_DFL)
