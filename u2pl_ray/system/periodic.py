"""Actions that repeat in the background."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)


@contextmanager
def every(seconds: float, action: Callable[[], object], name: str) -> Iterator[None]:
    """Call `action` every so many seconds in a thread, first after the first of them, until the context ends.

    An action that raises is logged at debug level and called again after the next pause. Leaving waits for the action
    that is under way.

    Args:
        seconds: the pause between two calls.
        action: called without arguments.
        name: the thread's.
    """
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            try:
                action()
            except Exception:
                logger.debug("%s failed; it is tried again in %g s", name, seconds, exc_info=True)

    thread = threading.Thread(target=repeat, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
