"""Notice that the storage is gone, or that another driver has taken over. Workers and driver try again for as long as
a storage may come back, which it may never.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from u2pl_ray.search.execution.interrupts import end_now
from u2pl_ray.search.storage.leased import TakenOverError
from u2pl_ray.search.storage.place import Place
from u2pl_ray.system.periodic import every

PATIENCE = 600.0
"""Seconds without an answer after which the storage is given up: devices wait for it meanwhile."""
_LOOK = 2.0


@contextmanager
def watch_storage(place: Place, again: str) -> Iterator[None]:
    """Within: end the process with `AGAIN` once the storage has not answered for `PATIENCE`, or somebody else has it.

    Workers that this driver started would go on to store checkpoints beside the other driver's: they end with it.

    Args:
        place: the experiment's; this process holds its session.
        again: the command that goes on, for the line on stderr that says so.
    """

    def look() -> None:
        try:
            place.check_held()
        except TakenOverError as error:
            end_now(str(error))
        if (silent := place.silent()) > PATIENCE:
            line = f"{place.location}: the storage has not answered for {silent:.0f} s: stopped"
            end_now(f"{line}; every trial keeps its last checkpoint. When it answers again: {again}")

    with every(_LOOK, look, "storage"):
        yield
