"""Control the uploading process from the driver: start it, name the files to follow, read its reports, end it."""

import contextlib
import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from u2pl_ray.tracking.client import ExperimentFile

RESTARTS = (1.0, 5.0, 30.0, 60.0)
"""Seconds before the process is started again; the last one repeats."""


class Uploader:
    """Uploader of one session's run files in a separate process (`upload`). Idle until `start`.

    A process that ends unexpectedly is started again.

    Args:
        memory: Where the experiment's token and sweep id are kept.
        project: W&B project, for the sweep.
        entity: W&B user or team, for the sweep.
        group: The experiment's name, also the sweep's.
        sweep: Search space in the W&B sweep grammar, or None.
        note: Called with messages for the user.
    """

    def __init__(
        self,
        memory: ExperimentFile,
        project: str,
        entity: str | None,
        group: str,
        sweep: Mapping[str, Any] | None,
        note: Callable[[str], None],
    ) -> None:
        self._memory = memory
        self._order = {
            "project": project,
            "entity": entity,
            "group": group,
            "sweep": dict(sweep) if sweep else None,
        }
        self._note = note
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._followed: dict[str, bool] = {}
        self.uploaded: set[str] = set()
        """Files whose rows the server has, all of them."""
        self._closing = threading.Event()

    @property
    def started(self) -> bool:
        """Return whether the session is online."""
        return self._thread is not None

    def start(self) -> None:
        """Start the process; it first registers the sweep if there is one without an id."""
        self._thread = threading.Thread(target=self._keep, name="wandb-uploader", daemon=True)
        self._thread.start()

    def follow(self, path: Path, live: bool = True) -> None:
        """Upload a run's file.

        Args:
            path: The file.
            live: Whether to continue until its run is finished.
        """
        if self.started:
            with self._lock:
                self._followed[str(path)] = live
                self._tell({"follow": str(path), "live": live})

    def close(self, timeout: float) -> int:
        """Wait at most `timeout` seconds for the process to finish, then kill it.

        Returns:
            Runs that the server does not have in full.
        """
        if self._thread is None:
            return 0
        with self._lock:
            self._closing.set()
            self._tell({"close": True})
        self._thread.join(timeout)
        with self._lock:
            if self._process is not None:
                self._process.kill()
        self._thread.join(5.0)
        missing = len(self._followed.keys() - self.uploaded)
        if missing:
            self._note(f"{missing} runs are not uploaded in full; `u2pl-ray wandb sync` does it later")
        return missing

    def _keep(self) -> None:
        """Run the process, and start it again when it ends before `close` (the thread's body)."""
        for pause in itertools.chain(RESTARTS, itertools.repeat(RESTARTS[-1])):
            with self._lock:
                if self._closing.is_set():
                    return
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "u2pl_ray.tracking.upload"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    start_new_session=True,  # Ctrl-C in a terminal is for the search; this one is ended by close
                )
                self._tell({"order": {**self._order, "sweep_id": self._memory.read().get("sweep_id")}})
                for path in self._followed.keys() - self.uploaded:
                    self._tell({"follow": path, "live": self._followed[path]})
            self._listen(self._process)
            with self._lock:
                self._process = None
            if self._closing.wait(pause):
                return
            self._note("the uploading process ended and is started again")

    def _listen(self, process: "subprocess.Popen[str]") -> None:
        """Read the process's reports, line by line, until it ends."""
        assert process.stdout is not None
        for line in process.stdout:
            event: dict[str, Any] = json.loads(line)
            if "uploaded" in event:
                self.uploaded.add(event["uploaded"])
            if "sweep" in event:
                self._memory.update(sweep_id=event["sweep"])
            if "note" in event:
                self._note(event["note"])
        process.wait()

    def _tell(self, message: Mapping[str, Any]) -> None:
        """Write a message to the process; after a restart all messages are sent again."""
        process = self._process
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                process.stdin.write(json.dumps(message) + "\n")
                process.stdin.flush()
