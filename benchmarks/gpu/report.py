"""What the parts share: where they run, and a report that is on disk after every row."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Context:
    """Where and how a part runs.

    Attributes:
        device: CUDA, or the CPU for the miniature.
        miniature: small sizes, for the CPU.
        until: `time.monotonic()` at which the part has to have ended.
        out: folder of the results.
        reference: checkout of the published implementation, if there is one.
        rows: the comparison that the part `evidence` trains.
        settings: further settings of all its trainings.
        jobs: trainings at once.
    """

    device: torch.device
    miniature: bool
    until: float
    out: Path
    reference: Path | None = None
    rows: Path | None = None
    settings: tuple[str, ...] = ()
    jobs: int = 1

    @property
    def seconds_left(self) -> float:
        """Seconds until the part has to have ended."""
        return self.until - time.monotonic()


class Skipped(Exception):
    """A part that cannot run here; its text says why."""


class Report:
    """Rows of a part, written to a JSON file at each change, so that a part that is killed leaves what it found.

    Args:
        file: of the results.
        part: its name.
        context: where it runs.
    """

    def __init__(self, file: Path, part: str, context: Context) -> None:
        self._file = file
        self._started = time.monotonic()
        device = context.device
        self._content: dict[str, Any] = {
            "part": part,
            "status": "cut short",
            "why": "",
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "torch": torch.__version__,
            "miniature": context.miniature,
            "rows": [],
        }
        self._write()

    def add(self, what: str, **values: Any) -> None:
        """Keep a row and print it."""
        self._content["rows"].append({"what": what, **values})
        self._write()
        print(line(self._content["part"], self._content["rows"][-1]), flush=True)

    def end(self, status: str, why: str = "") -> None:
        """Say how the part ended: `done`, `failed` or `skipped`."""
        self._content |= {"status": status, "why": why}
        self._write()

    def _write(self) -> None:
        self._content["seconds"] = round(time.monotonic() - self._started, 1)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(self._content, indent=2) + "\n")


def line(part: str, row: dict[str, Any]) -> str:
    """One line of the table."""
    values = (f"{name} {_shown(value)}" for name, value in row.items() if name != "what")
    return f"{part:<10} {row['what']:<52} {', '.join(values)}"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
