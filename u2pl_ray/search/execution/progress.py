"""Progress within epochs: lines of text from the workers to the driver's listeners."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from u2pl_ray.system.periodic import every
from u2pl_ray.train.launch import PROGRESS_ACTOR

_LISTEN_SECONDS = 2.0


class Progress:
    """Actor that collects the workers' lines; they find it by the name `PROGRESS_ACTOR`."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    async def say(self, line: str) -> None:
        """Store a line until `heard` fetches it."""
        self._lines.append(line)

    async def heard(self) -> list[str]:
        """Return the lines since the last call."""
        lines, self._lines = self._lines, []
        return lines


def say(line: str) -> None:
    """Send a line to the driver's listeners from any process of the search; without a listener nothing happens."""
    with suppress(Exception):
        ray.get_actor(PROGRESS_ACTOR).say.remote(line)


@contextmanager
def hear_progress(tell: Callable[[str], None]) -> Iterator[None]:
    """Pass every line of the workers to `tell`, from a thread; a failure here only loses lines."""
    # The name is unique per driver, which has its own namespace. An earlier search of this process may still hold it.
    # It is on this node: on another one it would be lost with it, and all lines after that.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    kept = {"name": PROGRESS_ACTOR, "get_if_exists": True, "scheduling_strategy": here}
    actor = ray.remote(num_cpus=0)(Progress).options(**kept).remote()

    def listen() -> None:
        for line in ray.get(actor.heard.remote(), timeout=_LISTEN_SECONDS):
            tell(line)

    with every(_LISTEN_SECONDS, listen, "progress"):
        yield
