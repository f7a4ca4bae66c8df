"""Carries reports from the trainings' controllers to their trials: one small actor for the whole search.

Ray's own `TuneReportCallback` starts a queue process per trial, and can block for ever on a report that arrives while
the trial's function returns: the thread that reads the queue then waits for itself.
"""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray.train import UserCallback

from u2pl_ray.train.launch import PROGRESS_ACTOR

_LISTEN_SECONDS = 2.0

END = None
"""The last item of a box."""


class Mailbox:
    """One first-in, first-out box per training attempt, and a list per trial of what it holds of the cluster."""

    def __init__(self) -> None:
        self._boxes: dict[str, asyncio.Queue[Any]] = defaultdict(asyncio.Queue)
        self._claims: dict[str, list[tuple[str, Any]]] = defaultdict(list)

    async def put(self, box: str, item: Any) -> None:
        """Add an item."""
        self._boxes[box].put_nowait(item)

    async def take(self, box: str) -> Any:
        """The next item, as soon as there is one; a box that gave its END is gone."""
        item = await self._boxes[box].get()
        if item is END:
            del self._boxes[box]
        return item

    async def claim(self, trial: str, kind: str, thing: Any) -> None:
        """Note that a trial's training holds something, see `reclaim`."""
        self._claims[trial].append((kind, thing))

    async def claims(self, trial: str) -> list[tuple[str, Any]]:
        """What the trial's trainings have claimed since this was last asked."""
        return self._claims.pop(trial, [])


def start_mailbox() -> Any:
    """The actor, on this process's node, which outlives the trials'."""
    node = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    return ray.remote(num_cpus=0, max_concurrency=1000, scheduling_strategy=node)(Mailbox).remote()


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
    ended = threading.Event()
    # The name is this driver's own: each has a namespace. An earlier search of the same process may still have one.
    actor = ray.remote(num_cpus=0)(Progress).options(name=PROGRESS_ACTOR, get_if_exists=True).remote()

    def listen() -> None:
        while not ended.wait(_LISTEN_SECONDS):
            with suppress(Exception):  # watching never ends a search
                for line in ray.get(actor.heard.remote(), timeout=_LISTEN_SECONDS):
                    tell(line)

    thread = threading.Thread(target=listen, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class ReportCallback(UserCallback):
    """In a training's controller: passes on what rank 0 reports, with the checkpoint's folder.

    Args:
        mailbox: the actor.
        box: the training attempt's box.
        root: folder name that checkpoint paths are cut at, so that a record stays true when the storage moves.
    """

    def __init__(self, mailbox: Any, box: str, root: str) -> None:
        self._mailbox, self._box, self._root = mailbox, box, root

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Called by Ray Train when all workers have reported an epoch."""
        report = dict(metrics[0])
        if checkpoint is not None:
            report["checkpoint"] = checkpoint.path.rpartition(f"{self._root}/")[2]
        ray.get(self._mailbox.put.remote(self._box, report))
