"""Weights & Biases from the driver of a search: one run per trial, written by one background thread.

Telemetry must never end, slow or change a search. So every call returns at once and never raises: it puts a small
JSON text on a queue, and a daemon thread (`writer.Writer`) that alone touches the W&B client works it off. What
waits there is bounded in bytes; beyond that rows are dropped, counted and reported by `close`.
"""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

from .writer import Message, Writer

Mode = Literal["auto", "online", "offline", "disabled"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SinkReport:
    """What became of the rows. `dropped` is 0 unless something was wrong, and then `notes` says what."""

    mode: str
    """online, offline, disabled, or mixed (online until the server failed)."""
    rows: int
    """Rows handed to the W&B client."""
    repeated: int
    """Rows skipped because an earlier session of the run had logged their step."""
    dropped: int
    """Rows lost."""
    notes: tuple[str, ...] = ()


class WandbSink:
    """Accepts the reports of many trials at once and writes each to its own W&B run.

    Args:
        directory: The experiment's directory; the client's files go into `directory/wandb`.
        project: W&B project.
        entity: W&B user or team; None: the account's default.
        group: The experiment's name; its runs are grouped under it.
        mode: `auto`: WANDB_MODE if set, else online when a key is found, else offline. A server that does not
            answer turns the rest of the session offline (`u2pl-ray wandb sync` uploads it later).
        objective: Metric whose best value so far is logged as the plain scalar `best/<objective>`.
        maximize: Whether larger is better for the objective.
        sweep: Search space in the W&B sweep grammar (`parameters`, `metric`); registered as a native Sweep that
            the runs join, as soon as a server is reached.
        init_timeout: Seconds the server has to accept a run before the session goes offline.
        finish_timeout: Seconds a finished run may take to upload its rest.
        max_pending_bytes: Bound on the rows waiting for the thread, as JSON text.

    Start Ray before the first `start`: the client's background service announces itself in the environment.
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
        init_timeout: float = 20.0,
        finish_timeout: float = 30.0,
        max_pending_bytes: int = 64 * 2**20,
    ) -> None:
        self._queue: SimpleQueue[Message] = SimpleQueue()
        self._refused = 0
        self._closed = False
        self._max_pending_bytes = max_pending_bytes
        self._writer: Writer | None = None
        if mode == "disabled" or (mode == "auto" and os.environ.get("WANDB_MODE") == "disabled"):
            return
        self._writer = Writer(
            self._queue,
            directory=directory,
            project=project,
            entity=entity,
            group=group,
            mode=mode,
            objective=objective,
            maximize=maximize,
            sweep=dict(sweep) if sweep else None,
            init_timeout=init_timeout,
            finish_timeout=finish_timeout,
        )
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
            metrics: Scalars; lists of counts (become histograms, with bin edges from the metric `<name>_edges`,
                else one unit per bin); square matrices (lists of lists) of counts and paths of image files
                (become pictures).
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

    def close(self, timeout: float = 60.0) -> SinkReport:
        """Finish all runs (those still open as interrupted) and wait for it, `timeout` seconds at most.

        What is not uploaded by then stays on disk for `u2pl-ray wandb sync`. Further calls do nothing.
        """
        writer = self._writer
        if writer is None:
            return SinkReport("disabled", 0, 0, 0)
        if not self._closed:
            self._closed = True
            self._queue.put(("close", "", ""))
        if not writer.done.wait(max(timeout, 0.0)):
            writer.counts.note(f"did not finish within {timeout:g} s; what was logged is on disk")
            writer.client.kill()
        counts = writer.counts
        dropped = counts.dropped + self._refused + writer.pending_rows
        if dropped:
            logger.warning("%d rows of metrics did not reach W&B", dropped)
        return SinkReport(writer.client.mode_used, counts.rows, counts.repeated, dropped, tuple(counts.notes))

    def _put(self, kind: str, run_id: str, content: Mapping[str, Any]) -> None:
        """Queue a message as text: a snapshot, of known size. Never blocks, never raises."""
        writer = self._writer
        if writer is None or self._closed:
            return
        row = kind == "log"
        try:
            text = json.dumps(content, default=_plain)
        except Exception as error:
            self._refused += row
            writer.counts.note(f"{kind} of trial {run_id} is not plain data ({type(error).__name__})")
            return
        if row and writer.pending_bytes + len(text) > self._max_pending_bytes:
            self._refused += 1
            writer.counts.note("the queue was full, rows were dropped")
            return
        writer.expect(int(row), len(text))
        self._queue.put((kind, run_id, text))


def _plain(value: Any) -> Any:
    """JSON for what metrics may hold beside plain values: paths, numpy and torch scalars and arrays."""
    if isinstance(value, Path):
        return {"_path": str(value)}
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not plain data")
