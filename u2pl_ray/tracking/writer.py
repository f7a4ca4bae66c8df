"""The thread behind the sink: take messages in order; open, log to and finish each trial's run.

It writes local files only, so it never waits for a server. If the session is online, another process
follows those files and uploads them (`uploader.Uploader`).
"""

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from u2pl_ray.tracking.client import Client
from u2pl_ray.tracking.payload import OBJECTIVE_PREFIX, class_names, row_for_client
from u2pl_ray.tracking.uploader import Uploader

Message = tuple[str, str, str]
"""Kind, trial id, content as JSON."""

logger = logging.getLogger(__name__)


@dataclass
class Counts:
    """Rows written, repeated and dropped, and what went wrong (each reason once)."""

    rows: int = 0
    repeated: int = 0
    dropped: int = 0
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Store and log a reason, each text once, at most 20 texts."""
        if text not in self.notes and len(self.notes) < 20:
            self.notes.append(text)
            logger.warning("W&B: %s", text)


@dataclass
class OpenRun:
    """A trial's run in the client."""

    run: Any
    classes: Sequence[str] = ()
    """Their names, in label order."""
    last_step: int = 0
    """Last step in the run's history."""
    best: float | None = None
    """Best value of the objective so far."""


class Writer(threading.Thread):
    """Thread that writes the messages of the sink's queue to run files.

    Args:
        queue: Messages from the sink.
        client: Where runs are opened.
        uploader: Follows the runs' files, if the session is online.
        mode: auto, online or offline.
        objective: Metric whose best value so far is logged.
        maximize: Whether larger is better.
        counts: Shared with the sink.
    """

    def __init__(
        self,
        queue: "SimpleQueue[Message]",
        client: Client,
        uploader: Uploader,
        mode: str,
        objective: str,
        maximize: bool,
        counts: Counts,
    ) -> None:
        super().__init__(name="wandb-writer", daemon=True)
        self._queue = queue
        self.client = client
        self._uploader = uploader
        self._mode = mode
        self._objective = objective
        self._sign = 1.0 if maximize else -1.0
        self._runs: dict[str, OpenRun] = {}
        self._pending_lock = threading.Lock()
        self.counts = counts
        self.pending_bytes = 0
        self.pending_rows = 0
        self.done = threading.Event()

    def expect(self, rows: int, size: int) -> None:
        """Add to the rows and bytes that wait for the thread.

        Args:
            rows: Number of rows; negative if they were written or dropped.
            size: Bytes of their text; likewise negative.
        """
        with self._pending_lock:
            self.pending_rows += rows
            self.pending_bytes += size

    def run(self) -> None:
        """Handle messages until `close` (the thread's body)."""
        try:
            online = self.client.connect(self._mode)
            if online:
                self._uploader.start()
            elif self._mode == "online":
                self.counts.note("no key was found: runs are written to files only")
        except Exception as error:
            said = (str(error).strip().splitlines() or [""])[0]
            self.counts.note(
                f"no connection ({type(error).__name__}: {said}): runs are written offline; `u2pl-ray wandb sync` "
                "uploads them"
            )
        kind = ""
        while kind != "close":
            kind, trial_id, text = self._queue.get()
            try:
                getattr(self, f"_{kind}")(trial_id, json.loads(text))
            except Exception as error:
                self.counts.note(f"{kind} of trial {trial_id} failed ({type(error).__name__})")
                self.counts.dropped += kind == "log"
            self.expect(-int(kind == "log"), -len(text))
        self.done.set()

    def _start(self, trial_id: str, content: Mapping[str, Any]) -> None:
        if trial_id in self._runs:
            return
        run, rows = self.client.open(trial_id, **content)
        opened = self._runs[trial_id] = OpenRun(run, class_names(content["config"]))
        for row in rows:
            opened.last_step = int(row["_step"])
            best = row.get(OBJECTIVE_PREFIX + self._objective)
            opened.best = best if isinstance(best, (int, float)) else opened.best
        self._uploader.follow(Path(run.settings.sync_file))

    def _log(self, trial_id: str, content: Mapping[str, Any]) -> None:
        opened, step, metrics = self._runs[trial_id], int(content["step"]), content["metrics"]
        if step <= opened.last_step:
            self.counts.repeated += 1
            return
        row = row_for_client(metrics, self.client.directory, opened.classes)
        value = metrics.get(self._objective)
        if isinstance(value, (int, float)) and value == value:
            if opened.best is None or self._sign * value > self._sign * opened.best:
                opened.best = value
            row[OBJECTIVE_PREFIX + self._objective] = opened.best
        row["training_iteration"] = step
        opened.run.log(row, step=step, commit=True)
        opened.last_step = step
        self.counts.rows += 1

    def _finish(self, trial_id: str, content: Mapping[str, Any]) -> None:
        opened = self._runs.pop(trial_id, None)
        if opened is not None:
            self.client.finish(trial_id, opened.run, content["state"], content["summary"])

    def _close(self, trial_id: str, content: Mapping[str, Any]) -> None:
        for open_id in list(self._runs):
            try:
                self._finish(open_id, {"state": "INTERRUPTED", "summary": {}})
            except Exception as error:
                self.counts.note(f"trial {open_id} was not finished cleanly ({type(error).__name__})")
        self.client.wait_written()
