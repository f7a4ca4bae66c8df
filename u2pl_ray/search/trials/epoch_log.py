"""Read and write the metrics of a trial's epochs (`epochs.jsonl`)."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from u2pl_ray.config import metrics as names

_FILES = ("checkpoint", names.IMAGES)
"""Metrics that name files in their own trial's folder."""


class EpochLog:
    """The metrics of a trial's epochs, one JSON object a line, in order; only the driver of the search writes it.

    A line cut off by a kill is removed when the file is next written. NaN and infinities are written as null.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.epochs = read_epochs(path)
        self._size = sum(len(_line(row)) for row in self.epochs)
        self._unwritten: list[bytes] = []

    def append(self, metrics: Mapping[str, Any]) -> bool:
        """Append the next epoch; return False if it is already there or does not follow the last one, else True.

        Raises:
            OSError: it could not be written; it is kept in memory, and written with the next one.
        """
        if metrics[names.EPOCH] != len(self.epochs) + 1:
            return False
        row = _plain(dict(metrics))
        self.epochs.append(row)
        self._unwritten.append(_line(row))
        self.write()
        return True

    def write(self) -> None:
        """Write the epochs that could not be written before."""
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
    """Read the metrics of epochs 1, 2, ... up to the first gap or damaged line; none if there is no file."""
    rows: list[dict[str, Any]] = []
    try:
        lines = path.read_bytes().split(b"\n")[:-1]  # the text after the last newline was cut off
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


def portable(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return an epoch's metrics without those that name files in their own trial's folder: for another trial."""
    return {name: value for name, value in metrics.items() if name not in _FILES}


def _line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _plain(value: Any) -> Any:
    """Convert `value` to plain JSON values."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
