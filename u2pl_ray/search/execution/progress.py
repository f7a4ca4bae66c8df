"""What the workers of a search say: lines of progress within epochs, and what each waits for."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from u2pl_ray.search.storage.waits import WaitingProcess
from u2pl_ray.system.periodic import every
from u2pl_ray.train.launch import PROGRESS_ACTOR
from u2pl_ray.train.watchdog import LIFE, LOOK, NAMED

_LISTEN_SECONDS = 2.0


class Progress:
    """Actor that collects what the workers say; they find it by the name `PROGRESS_ACTOR`."""

    def __init__(self) -> None:
        self._lines: list[tuple[str, str]] = []
        self._arrived = 0
        self._waits: dict[tuple[str, str], tuple[str, float, float]] = {}
        self._ended: dict[str, str] = {}

    def say(self, line: str, of: str = "") -> None:
        """Store a line until `heard` is told that it has arrived.

        Args:
            line: what is said.
            of: the trial without which there is nothing to say, such as that it is started again; else empty.
        """
        self._lines.append((of, line))

    def waits(self, trial: str, who: str, what: str, seconds: float) -> None:
        """Store what a process of a trial waits for; it is forgotten unless it is told again. Also a sign of life.

        Args:
            trial: id.
            who: the process, such as `worker 1`.
            what: what it waits for.
            seconds: since when.
        """
        now = time.time()
        self._waits[trial, who] = (what, now - seconds, now)

    def ended(self, trial: str, why: str) -> None:
        """Hear that a worker ends itself, as it waited too long; `heard` returns this as a line, too.

        Args:
            trial: id.
            why: which worker, and what it waited for.
        """
        self._ended[trial] = why
        self._lines.append(("", f"{trial} {why}: its process is ended"))

    def why(self, trial: str) -> str:
        """Return why a worker of the trial ended itself since the last call; an empty string if none did."""
        return self._ended.pop(trial, "")

    def heard(self, arrived: int) -> tuple[int, list[tuple[str, str]], list[WaitingProcess], dict[str, float]]:
        """Return the lines that have not arrived, the waits of some seconds, and when each trial was last heard of.

        An answer that comes too late for its caller loses nothing: its lines come again with the next one.

        Args:
            arrived: the first number of the last answer that arrived; 0 before there was one.

        Returns:
            The number of lines so far, counting those of this answer; the lines, each with what `say` was given as
            `of`; the waits; the times by trial.
        """
        del self._lines[: max(0, arrived - self._arrived)]
        self._arrived = max(self._arrived, arrived)
        now = time.time()
        self._waits = {key: told for key, told in self._waits.items() if now - told[2] < 2 * LIFE}
        waits = [
            WaitingProcess(trial, who, what, since)
            for (trial, who), (what, since, told) in self._waits.items()
            if told - since >= NAMED and now - told < 3 * LOOK
        ]
        life: dict[str, float] = {}
        for (trial, _), (_, _, told) in self._waits.items():
            life[trial] = max(told, life.get(trial, 0.0))
        return self._arrived + len(self._lines), list(self._lines), waits, life


def _listener() -> Any:
    """Return the actor of this process's search.

    Raises:
        LookupError: this process is connected to no Ray; asked for an actor, Ray would start one in this thread.
        ValueError: there is no such actor.
    """
    if not ray.is_initialized():
        raise LookupError("not connected")
    return ray.get_actor(PROGRESS_ACTOR)


def say(line: str, of: str = "") -> None:
    """Send a line to the driver's listeners from any process of the search; without a listener nothing happens.

    Args:
        line: what is said.
        of: a trial; if it has ended when the line arrives, the line is dropped.
    """
    with suppress(Exception):
        _listener().say.remote(line, of)


def tell_wait(trial: str, who: str, what: str, seconds: float) -> None:
    """Tell the driver what a process of a trial waits for, see `Progress.waits`; without a driver nothing happens."""
    with suppress(Exception):
        _listener().waits.remote(trial, who, what, seconds)


def why_ended(trial: str) -> str:
    """Return why a worker of the trial ended itself, see `Progress.why`; an empty string if nobody knows."""
    with suppress(Exception):
        return str(ray.get(_listener().why.remote(trial), timeout=_LISTEN_SECONDS))
    return ""


@contextmanager
def hear_progress(
    tell: Callable[[str], None],
    heard: Callable[[list[WaitingProcess], Mapping[str, float]], None],
    live: Callable[[str], bool],
) -> Iterator[None]:
    """Pass on what the workers say, from a thread; a failure here only loses lines.

    Args:
        tell: called with every line.
        heard: called every two seconds with all that is waited for, and when each trial was last heard of.
        live: tells whether a trial has not ended.
    """
    # The name is unique per driver, which has its own namespace. An earlier search of this process may still hold it.
    # It is on this node: on another one it would be lost with it, and all lines after that.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    kept = {"name": PROGRESS_ACTOR, "get_if_exists": True, "scheduling_strategy": here}
    actor = ray.remote(num_cpus=0)(Progress).options(**kept).remote()

    arrived = 0

    def listen() -> None:
        nonlocal arrived
        arrived, lines, waits, life = ray.get(actor.heard.remote(arrived), timeout=_LISTEN_SECONDS)
        for of, line in lines:
            if not of or live(of):
                tell(line)
        heard(waits, life)

    try:
        with every(_LISTEN_SECONDS, listen, "progress"):
            yield
    finally:
        # Without it the actor ends a moment later; a search of this process begun until then would find a dying one.
        with suppress(Exception):
            if ray.is_initialized():
                ray.kill(actor)
