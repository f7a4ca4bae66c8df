"""What is known of a trial: its place in the study, and the metrics of its epochs on disk."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from u2pl_ray.config import metrics as names


class State(str, Enum):
    """Where a trial stands."""

    PENDING = "PENDING"
    """Queued with fixed settings; nothing runs yet."""
    RUNNING = "RUNNING"
    """Started and not finished: training now, or waiting for `resume`."""
    COMPLETED = "COMPLETED"
    STOPPED = "STOPPED"
    """Stopped early by the scheduler."""
    FAILED = "FAILED"
    INFEASIBLE = "INFEASIBLE"
    """Out of memory, or a combination that is not valid; not tried again."""

    @property
    def finished(self) -> bool:
        """Whether nothing will change any more."""
        return self not in (State.PENDING, State.RUNNING)


@dataclass(frozen=True)
class TrialRecord:
    """A trial as the study knows it.

    Attributes:
        id: zero-padded number.
        number: place in the order of creation, from 0.
        state: where it stands.
        params: searched settings by dotted path; empty while queued.
        values: the objective by epoch (from 1).
        value: the objective at the end, None unless COMPLETED or STOPPED.
        objectives: all objectives at the end, the first one first; empty unless COMPLETED.
        reason: why it FAILED (nan, error, lost) or is INFEASIBLE (memory, refused by the training, invalid before it
            started).
        detail: one line more about that.
        note: where the trial comes from, such as "paper".
        fork: where a fork comes from, see `Fork`; None for a trial that starts from scratch.
        driver: which driver runs it, if there can be several.
        retries: number of the failed trial that this one does again, from its last checkpoint.
        started, finished: when, in the local time of the process that reads it (naive).
    """

    id: str
    number: int
    state: State
    params: dict[str, Any] = field(default_factory=dict)
    values: dict[int, float] = field(default_factory=dict)
    value: float | None = None
    objectives: tuple[float, ...] = ()
    reason: str = ""
    detail: str = ""
    note: str = ""
    fork: "Fork | None" = None
    driver: str = ""
    retries: int | None = None
    started: datetime | None = None
    finished: datetime | None = None

    @property
    def epochs(self) -> int:
        """Epochs done."""
        return max(self.values, default=0)

    @property
    def latest(self) -> float | None:
        """The objective at the end, or at the latest epoch so far."""
        return self.value if self.value is not None else self.values.get(self.epochs)


class Fork(NamedTuple):
    """Where a trial comes from that goes on with another one's training: numbers of trials, and epochs done by then."""

    parent: int
    epoch: int
    replaces: int


FORK = "fork"
"""User attribute of a fork in the study: a `Fork`, as a list."""


def trial_id(number: int) -> str:
    """The id of trial `number`."""
    return f"{number:04d}"


class EpochLog:
    """The metrics of a trial's epochs, one JSON object a line, in order; only the driver of the search writes it.

    A line cut short by a kill is dropped when the file is next written. NaN and infinities are written as null.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.epochs = read_epochs(path)
        self._size = sum(len(_line(row)) for row in self.epochs)
        self._unwritten: list[bytes] = []

    def append(self, metrics: Mapping[str, Any]) -> bool:
        """Take the next epoch and write it; True if it was new, False if it is there or does not follow the last one.

        Raises:
            OSError: it could not be written; it is kept, and written with the next one.
        """
        if metrics[names.EPOCH] != len(self.epochs) + 1:
            return False
        row = _plain(dict(metrics))
        self.epochs.append(row)
        self._unwritten.append(_line(row))
        self.write()
        return True

    def write(self) -> None:
        """Write what could not be written before."""
        if not self._unwritten:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = b"".join(self._unwritten)
        with self.path.open("rb+" if self.path.exists() else "wb+") as file:
            file.truncate(self._size)
            file.seek(self._size)
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        self._size += len(lines)
        self._unwritten.clear()


def read_epochs(path: Path) -> list[dict[str, Any]]:
    """Metrics of epochs 1, 2, ... as far as the file holds them whole and in order; none if there is no file."""
    rows: list[dict[str, Any]] = []
    try:
        lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last newline was cut short
    except FileNotFoundError:
        return rows
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not isinstance(row, dict) or row.get(names.EPOCH) != len(rows) + 1:
            break
        rows.append(row)
    return rows


def _line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _plain(value: Any) -> Any:
    """`value` as JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
