"""Report a search to Weights & Biases: one run per trial, written by the driver.

Telemetry must never end, slow or change a search. So there are three steps, each isolated from the next:

1. a call here puts a small JSON text on a queue, bounded in bytes, and returns;
2. one daemon thread writes it to the trial's run in a local file (`writer`), which survives a kill;
3. if an API key is set, a separate process follows these files and uploads them (`uploader`).

A server that is slow, down or faulty can disturb only the third step, which can be killed at any time.
"""

import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

from u2pl_ray.tracking.client import Client
from u2pl_ray.tracking.uploader import Uploader
from u2pl_ray.tracking.writer import Counts, Message, Writer

Mode = Literal["auto", "online", "offline", "disabled"]
ENVIRONMENT_MODES = {
    "online": "online",
    "run": "online",
    "shared": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}
"""Values of WANDB_MODE and the mode of the sink that each selects."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SinkReport:
    """Counts of rows and runs at the end. If `dropped` or `not_uploaded` is not 0, `notes` says why."""

    mode: str
    """online, offline or disabled."""
    rows: int
    """Rows written."""
    repeated: int
    """Rows skipped because an earlier session of the run had logged their step."""
    dropped: int
    """Rows lost."""
    not_uploaded: int = 0
    """Runs of an online session that the server does not have in full; `u2pl-ray wandb sync` uploads them."""
    notes: tuple[str, ...] = ()


class WandbSink:
    """Writer of concurrent trials' reports, each to its own W&B run.

    Args:
        directory: The experiment's directory; the client's files go into `directory/wandb`.
        project: W&B project.
        entity: W&B user or team; None: the account's default.
        group: The experiment's name; its runs are grouped under it.
        mode: `auto`: WANDB_MODE if set, else online when a key is found, else offline.
        objective: Metric whose best value so far is logged as the plain scalar `best/<objective>`.
        maximize: Whether larger is better for the objective.
        sweep: Search space in the W&B sweep grammar (`parameters`, `metric`), registered as a native Sweep that the
            runs join. Online: now; offline: by `u2pl-ray wandb sync`.
        max_pending_bytes: Bound on the rows waiting for the thread, as JSON text.
    """

    def __init__(
        self,
        directory: Path,
        project: str,
        entity: str | None,
        group: str,
        mode: Mode,
        *,
        objective: str = "val/miou",
        maximize: bool = True,
        sweep: Mapping[str, Any] | None = None,
        max_pending_bytes: int = 64 * 2**20,
    ) -> None:
        wanted = ENVIRONMENT_MODES.get(os.environ.get("WANDB_MODE", ""), "auto") if mode == "auto" else mode
        self._max_pending_bytes = max_pending_bytes
        self._refused = 0
        self._closed = wanted == "disabled"
        self._counts = Counts()
        self._queue: SimpleQueue[Message] = SimpleQueue()
        self._writer: Writer | None = None
        if self._closed:
            return
        client = Client(directory, project, entity, group)
        self._uploader = Uploader(client.memory, project, entity, group, sweep, self._counts.note)
        self._writer = Writer(self._queue, client, self._uploader, wanted, objective, maximize, self._counts)
        self._writer.start()

    def start(self, run_id: str, name: str, config: Mapping[str, Any], tags: Sequence[str] = ()) -> None:
        """Open the run of a trial, or continue it: steps that an earlier session logged are not logged again.

        Args:
            run_id: The trial's id, unique in the experiment. (The id on the server is unique per experiment.)
            name: Display name.
            config: The trial's whole configuration, nested.
            tags: W&B tags.
        """
        self._put("start", run_id, {"name": name, "config": dict(config), "tags": list(tags)})

    def log(self, run_id: str, metrics: Mapping[str, Any], step: int) -> None:
        """Log one row.

        Args:
            run_id: A trial given to `start`.
            metrics: Scalars; lists of counts (become histograms; see `payload.edges` for their bins); matrices of
                counts, as lists of lists (become pictures); under `media/...`, paths of image files, absolute or
                relative to the experiment's directory, alone or in a list.
            step: Epochs done; logged as `training_iteration`, the axis of every metric.
        """
        self._put("log", run_id, {"metrics": dict(metrics), "step": int(step)})

    def finish(self, run_id: str, state: str, summary: Mapping[str, Any] | None = None) -> None:
        """End the run of a trial.

        Args:
            run_id: A trial given to `start`.
            state: COMPLETED or STOPPED (finished for W&B), FAILED or INFEASIBLE (failed for W&B). Kept in the
                summary as `trial/state`.
            summary: Further plain values for the run's summary.
        """
        self._put("finish", run_id, {"state": state, "summary": dict(summary or {})})

    def close(self, timeout: float = 20.0) -> SinkReport:
        """Finish all runs (open ones as interrupted) and wait for their upload, `timeout` seconds at most.

        Runs not uploaded by then stay on disk for `u2pl-ray wandb sync`. Further calls do nothing.
        """
        writer, deadline = self._writer, time.monotonic() + timeout
        if writer is None:
            return SinkReport("disabled", 0, 0, 0)
        if not self._closed:
            self._closed = True
            writer.expect(0, 2)
            self._queue.put(("close", "", "{}"))
        if not writer.done.wait(max(0.0, timeout)):
            self._counts.note(f"the client did not write everything within {timeout:g} s")
            writer.client.kill(self._counts.note)
        not_uploaded = self._uploader.close(max(0.0, deadline - time.monotonic()))
        dropped = self._counts.dropped + self._refused + writer.pending_rows
        if dropped:
            logger.warning("W&B: %d rows of metrics were lost", dropped)
        mode, counts = "online" if self._uploader.started else "offline", self._counts
        return SinkReport(mode, counts.rows, counts.repeated, dropped, not_uploaded, tuple(counts.notes))

    def _put(self, kind: str, run_id: str, content: Mapping[str, Any]) -> None:
        """Queue a message as JSON text, so that later changes do not reach it. Never blocks, never raises."""
        writer, row = self._writer, kind == "log"
        if writer is None or self._closed:
            return
        try:
            text = json.dumps(content, default=_plain)
        except Exception as error:
            self._refused += row
            self._counts.note(f"{kind} of trial {run_id} is not plain data ({type(error).__name__})")
            return
        if row and writer.pending_bytes + len(text) > self._max_pending_bytes:
            self._refused += 1
            self._counts.note("the queue was full, rows were dropped")
            return
        writer.expect(int(row), len(text))
        self._queue.put((kind, run_id, text))


def _plain(value: Any) -> Any:
    """Convert values that JSON lacks: paths, numpy and torch scalars and arrays, sets."""
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is not plain data")
