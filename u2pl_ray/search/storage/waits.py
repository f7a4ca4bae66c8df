"""What a search waits for at present, in a file of its folder: written by the driver, read by `status`."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from u2pl_ray.search.storage import layout
from u2pl_ray.system.atomic import write_whole

_SAME = 5.0
"""Seconds by which the beginning of one wait may differ between two reports."""


class WaitingProcess(NamedTuple):
    """One process that waits."""

    trial: str
    """Id of its trial."""
    who: str
    """The process, such as `worker 1`."""
    what: str
    """What it waits for, such as `a batch of its data loader`."""
    since: float
    """When it began to, in seconds since 1970."""


class WaitFile:
    """The file of one driver; an empty list while nothing is waited for (object stores are told of changes alone).

    Args:
        folder: the experiment's.
        driver: its name, where several work on the experiment.
    """

    def __init__(self, folder: Path, driver: str = "") -> None:
        self._path = folder / layout.WAITS.replace("*", f"-{driver}" if driver else "")
        self._written: list[WaitingProcess] = []
        if self._path.exists():  # of a driver that was killed
            self._store()

    def write(self, waits: Sequence[WaitingProcess]) -> None:
        """Store all that is waited for now, if it changed."""
        now = sorted(waits)
        if len(now) == len(self._written) and all(map(_same, now, self._written)):
            return
        self._written = now
        self._store()

    def _store(self) -> None:
        write_whole(self._path, json.dumps([wait._asdict() for wait in self._written]))


def read_waits(folder: Path, drivers: Mapping[str, str]) -> list[WaitingProcess]:
    """Return what the running drivers of an experiment wait for, the longest first; empty if they say nothing.

    The file of a driver that was killed stays. What it says of trials that another driver has now is left out.

    Args:
        folder: the experiment's.
        drivers: the driver of each running trial, by the trial's id.
    """
    waits: list[WaitingProcess] = []
    for path in folder.glob(layout.WAITS):
        driver = path.stem.partition("-")[2]
        with suppress(OSError, ValueError, TypeError):  # gone, or of a later version
            told = [WaitingProcess(**wait) for wait in json.loads(path.read_text("utf-8"))]
            waits += [wait for wait in told if not driver or drivers.get(wait.trial) == driver]
    return sorted(waits, key=lambda wait: wait.since)


def _same(one: WaitingProcess, other: WaitingProcess) -> bool:
    return one[:3] == other[:3] and abs(one.since - other.since) < _SAME
