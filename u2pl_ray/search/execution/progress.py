"""Within epochs: what the workers say, on its way to whoever watches the search."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import ray

from u2pl_ray.system.periodic import every
from u2pl_ray.train.launch import PROGRESS_ACTOR

_LISTEN_SECONDS = 2.0


class Progress:
    """Lines that workers say within their epochs; they find it by the name `PROGRESS_ACTOR`."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    async def say(self, line: str) -> None:
        """Note a line for whoever watches the search."""
        self._lines.append(line)

    async def heard(self) -> list[str]:
        """What was said since this was last asked."""
        lines, self._lines = self._lines, []
        return lines


def say(line: str) -> None:
    """From any process of the search: tell whoever watches it, if anyone does."""
    with suppress(Exception):
        ray.get_actor(PROGRESS_ACTOR).say.remote(line)


@contextmanager
def hear_progress(tell: Callable[[str], None]) -> Iterator[None]:
    """Meanwhile, tell every line that workers say, from a thread. What fails here costs lines and nothing else."""
    # The name is this driver's own: each has a namespace. An earlier search of the same process may still have one.
    actor = ray.remote(num_cpus=0)(Progress).options(name=PROGRESS_ACTOR, get_if_exists=True).remote()

    def listen() -> None:
        for line in ray.get(actor.heard.remote(), timeout=_LISTEN_SECONDS):
            tell(line)

    with every(_LISTEN_SECONDS, listen, "progress"):
        yield
