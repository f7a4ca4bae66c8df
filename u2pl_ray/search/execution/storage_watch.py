"""Notice that the storage is gone. Workers and driver try again for as long as it may come back, which it may never."""

from collections.abc import Iterator
from contextlib import contextmanager

from u2pl_ray.search.execution.interrupts import end_now
from u2pl_ray.search.storage.place import Place
from u2pl_ray.system.periodic import every

PATIENCE = 600.0
"""Seconds without an answer after which the storage is given up: devices wait for it meanwhile."""
_LOOK = 2.0


@contextmanager
def watch_storage(place: Place, again: str) -> Iterator[None]:
    """Within: end the process with `AGAIN` once the storage has not answered for `PATIENCE`.

    Args:
        place: the experiment's; this process holds its session.
        again: the command that goes on, for the line on stderr that says so.
    """

    def look() -> None:
        if (silent := place.silent()) > PATIENCE:
            line = f"{place.location}: the storage has not answered for {silent:.0f} s: stopped"
            end_now(f"{line}; every trial keeps its last checkpoint. When it answers again: {again}")

    with every(_LOOK, look, "storage"):
        yield
