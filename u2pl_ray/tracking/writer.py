"""The thread behind the sink: takes messages in order and keeps the life of every run.

Writing a row is fast and never waits for a server (the client appends to a local file and uploads on its own). Only
opening and finishing an online run waits; a second thread, the lane, does those, so that a slow server does not hold
up the rows of other runs.
"""

import json
import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from .client import Client
from .payload import OBJECTIVE_PREFIX, row_for_client

Message = tuple[str, str, Any]
"""Kind, trial id, content: JSON text from outside, objects from the lane."""

FAILED_STATES = ("FAILED", "INFEASIBLE", "INTERRUPTED")

logger = logging.getLogger(__name__)


@dataclass
class Counts:
    """Rows by what became of them, and what went wrong (each reason once)."""

    rows: int = 0
    repeated: int = 0
    dropped: int = 0
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Remember and print a reason, once."""
        if text not in self.notes and len(self.notes) < 20:
            self.notes.append(text)
            logger.warning("W&B: %s", text)


@dataclass(eq=False)
class Trial:
    """One run, from `start` to the end of its `finish`."""

    trial_id: str
    name: str
    config: dict[str, Any]
    tags: list[str]
    run: Any = None
    """The client's run; None until it is open."""
    online: bool = False
    backlog: list[str] = field(default_factory=list)
    """Rows that came before the run was open."""
    last_step: int = 0
    """Last step in the run's history."""
    best: float | None = None
    end: dict[str, Any] | None = None
    """State and summary, once finish was called."""


class Writer(threading.Thread):
    """Works off the sink's queue; see `WandbSink` for the arguments."""

    def __init__(
        self, queue: "SimpleQueue[Message]", directory: Path, objective: str, maximize: bool, **options: Any
    ) -> None:
        super().__init__(name="wandb-writer", daemon=True)
        self._queue = queue
        self._lane_queue: SimpleQueue[tuple[str, Trial]] = SimpleQueue()
        self._lane: threading.Thread | None = None
        self._objective = objective
        self._sign = 1.0 if maximize else -1.0
        self._trials: dict[str, Trial] = {}
        self._leaving: dict[str, Trial] = {}
        """Runs that the lane finishes, by trial; a trial started again waits for it."""
        self._closing = False
        self._pending_lock = threading.Lock()
        self.pending_bytes = 0
        self.pending_rows = 0
        self.counts = Counts()
        self.done = threading.Event()
        self.client = Client(directory=directory, note=self.counts.note, **options)

    def expect(self, rows: int, size: int) -> None:
        """Account for text on its way to a run (negative: it arrived or was dropped)."""
        with self._pending_lock:
            self.pending_rows += rows
            self.pending_bytes += size

    def run(self) -> None:
        """The thread's body: until `close`, and then until the last run is finished."""
        try:
            self.client.connect()
        except Exception as error:
            self.counts.note(f"the client does not start ({type(error).__name__}): nothing is tracked")
        while not (self._closing and not self._trials and not self._leaving):
            kind, trial_id, content = self._queue.get()
            try:
                getattr(self, f"_on_{kind}")(trial_id, content)
            except Exception as error:
                self.counts.note(f"{kind} of trial {trial_id} failed ({type(error).__name__})")
        self.done.set()

    # ------------------------------------------------------------------ messages

    def _on_start(self, trial_id: str, text: str) -> None:
        self.expect(0, -len(text))
        current = self._trials.get(trial_id)
        if current is not None and current.end is None:
            return  # already running
        trial = Trial(trial_id, **json.loads(text))
        self._trials[trial_id] = trial
        if current is not None:  # finish asked for while it was still opening
            self._leaving[trial_id] = current
        if trial_id not in self._leaving:
            self._open(trial)

    def _on_log(self, trial_id: str, text: str) -> None:
        trial = self._trials.get(trial_id)
        if trial is None:
            self.expect(-1, -len(text))
            self.counts.dropped += 1
            self.counts.note(f"rows of trial {trial_id} came before its start or after its finish")
        elif trial.run is None:
            trial.backlog.append(text)
        else:
            self._write(trial, text)

    def _on_finish(self, trial_id: str, text: str) -> None:
        self.expect(0, -len(text))
        trial = self._trials.get(trial_id)
        if trial is not None and trial.end is None:
            trial.end = json.loads(text)
            if trial.run is not None:
                self._finish(trial)

    def _on_close(self, trial_id: str, text: str) -> None:
        self._closing = True
        for trial in list(self._trials.values()):
            if trial.end is None:
                self._on_finish(trial.trial_id, json.dumps({"state": "INTERRUPTED", "summary": {}}))

    # ------------------------------------------------------------------ the life of a run

    def _open(self, trial: Trial) -> None:
        if self.client.online:
            self._send_to_lane("open", trial)
        else:
            self._opened(trial)

    def _on_opened(self, trial_id: str, trial: Trial) -> None:
        self._opened(trial)

    def _opened(self, trial: Trial) -> None:
        """Take over an online run from the lane, or else open one offline; then write what waited for it."""
        try:
            if trial.run is None:
                trial.run = self.client.open_offline(trial.trial_id, trial.name, trial.config, trial.tags)
            self._continue_history(trial)
        except Exception as error:
            self.counts.note(f"no run for trial {trial.trial_id} ({type(error).__name__})")
        for text in trial.backlog:
            self._write(trial, text)
        trial.backlog = []
        if trial.run is None:
            self._gone(trial)
        elif trial.end is not None:
            self._finish(trial)

    def _continue_history(self, trial: Trial) -> None:
        """Learn from earlier sessions' files what is logged; give an online run the rows its server lacks."""
        rows = self.client.logged_rows(trial.trial_id)
        on_server = trial.run.starting_step - 1 if trial.online and trial.run.resumed else 0
        for row in rows:
            step = int(row["_step"])
            best = row.get(OBJECTIVE_PREFIX + self._objective)
            trial.best = best if isinstance(best, (int, float)) else trial.best
            if trial.online and step > on_server:
                trial.run.log(self.client.row_again(row), step=step, commit=True)
            trial.last_step = max(trial.last_step, step)
        trial.last_step = max(trial.last_step, on_server)

    def _write(self, trial: Trial, text: str) -> None:
        self.expect(-1, -len(text))
        try:
            message = json.loads(text)
            step = int(message["step"])
            if step <= trial.last_step:
                self.counts.repeated += 1
                return
            row = row_for_client(message["metrics"])
            value = message["metrics"].get(self._objective)
            if isinstance(value, (int, float)) and value == value:
                if trial.best is None or self._sign * value > self._sign * trial.best:
                    trial.best = value
                row[OBJECTIVE_PREFIX + self._objective] = trial.best
            row["training_iteration"] = step
            trial.run.log(row, step=step, commit=True)
            trial.last_step = step
            self.counts.rows += 1
        except Exception as error:
            self.counts.dropped += 1
            self.counts.note(f"rows of trial {trial.trial_id} were not taken ({type(error).__name__})")

    def _finish(self, trial: Trial) -> None:
        if trial.online:
            if self._trials.get(trial.trial_id) is trial:
                del self._trials[trial.trial_id]
            self._leaving[trial.trial_id] = trial
            self._send_to_lane("finish", trial)
        else:
            self._end(trial)
            self._gone(trial)

    def _on_gone(self, trial_id: str, trial: Trial) -> None:
        self._gone(trial)

    def _gone(self, trial: Trial) -> None:
        """Forget a finished run; open the one that waits for its id."""
        self._leaving.pop(trial.trial_id, None)
        if self._trials.get(trial.trial_id) is trial:
            del self._trials[trial.trial_id]
        elif trial.trial_id in self._trials:
            self._open(self._trials[trial.trial_id])

    def _end(self, trial: Trial) -> None:
        """Write the summary and finish the run in the client. Waits for the server if the run is online."""
        end = trial.end or {"state": "INTERRUPTED", "summary": {}}
        try:
            trial.run.summary.update({**end["summary"], "trial/state": end["state"]})
            if end["state"] == "INTERRUPTED":
                trial.run.mark_preempting()
            trial.run.finish(exit_code=int(end["state"] in FAILED_STATES))
        except Exception as error:
            self.counts.note(f"trial {trial.trial_id} was not finished cleanly ({type(error).__name__})")

    # ------------------------------------------------------------------ the lane

    def _send_to_lane(self, what: str, trial: Trial) -> None:
        if self._lane is None:
            self._lane = threading.Thread(target=self._run_lane, name="wandb-lane", daemon=True)
            self._lane.start()
        self._lane_queue.put((what, trial))

    def _run_lane(self) -> None:
        """Open and finish online runs, one after the other; tell the writer when each is done."""
        while True:
            what, trial = self._lane_queue.get()
            if what == "open":
                try:
                    trial.run = self.client.open_online(trial.trial_id, trial.name, trial.config, trial.tags)
                    trial.online = trial.run is not None
                except Exception as error:
                    self.counts.note(f"no online run for trial {trial.trial_id} ({type(error).__name__})")
                self._queue.put(("opened", trial.trial_id, trial))
            else:
                self._end(trial)
                self._queue.put(("gone", trial.trial_id, trial))
