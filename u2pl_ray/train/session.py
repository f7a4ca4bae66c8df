"""Where a worker runs: who it is, where its reports go, what it continues from. With Ray (`launch`) or without."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from u2pl_ray.train.checkpoint import is_directory_name

Metrics = dict[str, Any]
"""Flat: metric name to a number, a string, a list of numbers (histograms) or of such lists (confusion matrix).
`image_data` alone is a mapping: file name to base64."""


class Session(Protocol):
    """One worker's surroundings."""

    rank: int
    world_size: int

    def report(self, metrics: Metrics, checkpoint: Path | None, name: str | None) -> None:
        """Hand an epoch's metrics on, with the folder that holds its checkpoint (rank 0 alone has one).

        Every worker calls it equally often. The folder's content has been stored under `name` when this returns.
        """

    def checkpoint(self) -> Any:
        """A context manager for the newest checkpoint's folder (a `Path`), or None."""

    def progress(self, line: str) -> None:
        """Say something to whoever watches; rank 0 alone."""

    def waiting(self, what: str, limit: float | None = None) -> None:
        """Hear what this worker waits for from now on, and how many seconds it may: see `Watchdog.at`."""

    def leaving(self) -> bool:
        """Whether a machine of this training is about to be taken away. Every worker asks after each report."""


@dataclass
class LocalSession:
    """A single worker in this process, without Ray: for tests, debugging, and benchmarks.

    Attributes:
        folder: where checkpoints are kept; the newest `keep` of them stay. None: checkpoints are dropped.
        on_report: called with every epoch's metrics.
    """

    folder: Path | None = None
    on_report: Callable[[Metrics], None] = lambda metrics: None
    keep: int = 2
    rank: int = 0
    world_size: int = 1

    def report(self, metrics: Metrics, checkpoint: Path | None, name: str | None) -> None:
        """See `Session`."""
        if self.folder is not None and checkpoint is not None and name is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            target = self.folder / name
            shutil.rmtree(target, ignore_errors=True)
            shutil.move(checkpoint, target)
            metrics = {**metrics, "checkpoint_path": str(target)}
            for old in self._stored()[: -self.keep]:
                shutil.rmtree(old, ignore_errors=True)
        self.on_report(metrics)

    @contextmanager
    def checkpoint(self) -> Iterator[Path | None]:
        """See `Session`."""
        stored = self._stored()
        yield stored[-1] if stored else None

    def progress(self, line: str) -> None:
        """See `Session`."""
        print(line, flush=True)

    def waiting(self, what: str, limit: float | None = None) -> None:
        """See `Session`: nobody watches."""

    def leaving(self) -> bool:
        """See `Session`."""
        return False

    def _stored(self) -> list[Path]:
        if self.folder is None:
            return []
        return sorted(path for path in self.folder.glob("epoch_*") if is_directory_name(path.name))
