"""The two requests of the uploading process to the W&B server: send a run's rows, and ask which rows it has.

Sending is what `wandb sync` does, through the client's own service (an internal interface of the client, hence the
narrow version range of wandb in this package). Because the server appends what it is sent, a file is never sent twice:
every attempt asks what the server has, and sends a copy of the file without those rows.
"""

import asyncio
import json
import os
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from u2pl_ray.tracking.reader import parse, read_run
from u2pl_ray.tracking.records import RecordReader, RecordWriter

QUERY = """
query RunResumeStatus($project: String, $entity: String, $name: String!) {
    model(name: $project, entityName: $entity) { bucket(name: $name, missingOk: true) { historyLineCount historyTail } }
}
"""
"""The query that the client itself sends before it continues a run."""

STEPS_AS_THEY_ARE = json.dumps({"starting_step": 0, "starting_runtime": 0})
"""The client's note beside a file of what to add to its steps. Without it, the client shifts them behind the last step
in the server's summary, which after a broken upload may be ahead of the history."""

TAIL_INTERVAL = 0.5
"""Seconds between two reads of a growing file."""


@dataclass(frozen=True)
class Known:
    """The part of a run's history that the server has."""

    rows: int
    last_step: int
    """Step of the last row that the server has; 0: none."""


class Server:
    """A connection. Methods that are not coroutines may be called from any thread but the event loop's.

    Args:
        scratch: Folder for the client's own files and the copies that are sent.
        timeout: Seconds to wait for the answer to a query.
    """

    def __init__(self, scratch: Path, timeout: float = 20.0) -> None:
        # The service logs a line per second and run to this folder, unless it cannot create the folder.
        (scratch / "wandb").mkdir()
        (scratch / "wandb" / "logs").touch()
        os.environ["WANDB_MODE"] = "online"
        import wandb
        from wandb.apis.public.service_api import ServiceApi
        from wandb.sdk import wandb_setup

        self._scratch = scratch
        wandb.setup(
            wandb.Settings(
                mode="online",
                silent=True,
                root_dir=str(scratch),
                use_dot_wandb=False,
                host="",
                program="u2pl-ray",
                x_file_stream_transmit_interval=5.0,
            )
        )
        self._setup = wandb_setup.singleton()
        self.has_key = bool(wandb.login(prompt=False, verify=False))
        self._service = self._setup.ensure_service()
        self._api = ServiceApi(self._setup.settings, timeout=timeout)

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine on the client's event loop until it ends."""
        self._setup.asyncer.run(main)

    def known(self, project: str, entity: str, run_id: str) -> Known:
        """Ask the server which part of a run's history it has.

        Args:
            project: W&B project.
            entity: W&B user or team.
            run_id: The run's id on the server.

        Raises:
            Exception: whatever the client raises if the server cannot be reached in time.
        """
        variables = {"project": project, "entity": entity or None, "name": run_id}
        answer: dict[str, Any] = self._api.execute_graphql(QUERY, variables)
        bucket = (answer["model"] or {}).get("bucket")
        if not bucket or not bucket["historyLineCount"]:
            return Known(0, 0)
        tail = json.loads(bucket["historyTail"] or "[]")
        return Known(int(bucket["historyLineCount"]), int(json.loads(tail[-1])["_step"]) if tail else 0)

    async def upload(self, path: Path, live: bool, sweep_id: str | None) -> bool:
        """Send the rows of a run's file that the server lacks; if `live`, until the run is finished.

        Args:
            path: Written by the client, in offline mode.
            live: Whether the file may still grow.
            sweep_id: The sweep that the run joins.

        Returns:
            Whether the server then has all of them.
        """
        run = read_run(path)
        while live and not run.run_id:  # the client has not flushed the first lines yet
            await asyncio.sleep(TAIL_INTERVAL)
            run = read_run(path)
        known = await asyncio.to_thread(self.known, run.project, run.entity, run.run_id)
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            (Path(folder) / "files").symlink_to(path.parent.absolute() / "files")
            copy = Path(folder) / path.name
            copy.with_name(copy.name + ".syncstate").write_text(STEPS_AS_THEY_ARE)
            copying = asyncio.ensure_future(self._copy(path, copy, known.last_step, live, sweep_id))
            try:
                await self._send(copy, live)
            finally:
                copying.cancel()
        known = await asyncio.to_thread(self.known, run.project, run.entity, run.run_id)
        return known.last_step >= read_run(path).last_step

    async def _copy(self, source: Path, target: Path, known_step: int, live: bool, sweep_id: str | None) -> None:
        """Copy a run's file without the rows up to a step, marked as the continuation of a run in a sweep."""
        reader, writer = RecordReader(source), RecordWriter(target)
        while True:
            for message in reader.new():
                record = parse(message)
                kind = record.WhichOneof("record_type")
                if kind == "history" and record.history.step.num <= known_step:
                    continue
                if kind == "run":
                    record.run.resume = True
                    record.run.sweep_id = sweep_id or record.run.sweep_id
                    message = record.SerializeToString()
                writer.add(message)
            if not live:
                return
            await asyncio.sleep(TAIL_INTERVAL)

    async def _send(self, path: Path, live: bool) -> None:
        """Upload a file by the client's service. Returns normally even if the server refused the file."""
        handle = await self._service.init_sync(
            {path},
            self._setup.settings,
            cwd=None,
            live=live,
            entity="",
            project="",
            run_id="",
            job_type="",
            tag_replacements={},
        )
        operation = await handle.wait_async(timeout=10)
        done = await self._service.sync(operation.id, parallelism=1)
        await done.wait_async(timeout=None)
