"""How far a verb has come: a bar on a terminal, a line now and then elsewhere. On stderr; stdout is for results."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

_SECONDS = 15.0


class Progress:
    """Counts steps towards a known number, as a context.

    Args:
        total: number of steps.
        what: of what, in the plural.
    """

    def __init__(self, total: int, what: str) -> None:
        self._total, self._what, self._done = total, what, 0
        self._started = self._told = time.monotonic()
        console = Console(stderr=True)
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._bar = Bar(
            *columns,
            console=console,
            transient=True,
            disable=not console.is_terminal or total < 2,
            redirect_stdout=sys.stdout.isatty(),
        )
        self._task = self._bar.add_task(what, total=total)

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def step(self) -> None:
        """Count one more."""
        self._done += 1
        self._bar.advance(self._task)
        now = time.monotonic()
        if self._bar.disable and now - self._told > _SECONDS:
            self._told = now
            left = (now - self._started) / self._done * (self._total - self._done)
            print(f"{self._done} of {self._total} {self._what}, {left:.0f} s left", file=sys.stderr, flush=True)
