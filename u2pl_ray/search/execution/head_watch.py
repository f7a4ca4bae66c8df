"""Notice that the cluster's head is gone. Ray would end this process a minute later, with a code that says nothing."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from u2pl_ray.search.execution.interrupts import end_now
from u2pl_ray.system.periodic import every

PATIENCE = 45.0
"""Seconds without an answer after which the head is given up: less than Ray's 60, in which a head may be restarted."""
_BEAT = 2.0
_ANSWER = 5.0


@contextmanager
def watch_head(again: str) -> Iterator[None]:
    """Within: end the process with `AGAIN` once the head of the connected cluster has not answered for `PATIENCE`.

    Args:
        again: the command that goes on, for the line on stderr that says so.
    """
    import ray

    address = ray.get_runtime_context().gcs_address
    host, _, port = address.rpartition(":")
    answered = time.monotonic()

    def look() -> None:
        nonlocal answered
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER).close()
        except OSError:
            silent = time.monotonic() - answered
            if silent < PATIENCE:
                return
            line = f"the Ray cluster at {address} has not answered for {silent:.0f} s: stopped"
            end_now(f"{line}; every trial keeps its last checkpoint. With a cluster again: {again}")
        answered = time.monotonic()

    with every(_BEAT, look, "head"):
        yield
