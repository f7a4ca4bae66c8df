"""The uploading process: follow run files while they grow and send them to the W&B server.

Run as `python -m u2pl_ray.tracking.upload` by `uploader.Uploader`, with one JSON message per line on standard input
(`order` first, then `follow` a file, at last `close`) and one per line on standard output (`uploaded`, `sweep`,
`note`). It uses what `wandb sync` uses. A file counts as uploaded when the server says that it has its rows: the
client marks a file as synced even if the server refused it.

It ends when all files are uploaded after `close`, and when the driver dies.
"""

import asyncio
import itertools
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError

from u2pl_ray.system.scratch import scratch
from u2pl_ray.tracking.client import clean_environment
from u2pl_ray.tracking.server import Server
from u2pl_ray.tracking.sweep import register

DEATH_GRACE = 5.0
"""Seconds after the driver's death in which the files on disk are still sent."""

SWEEP_PATIENCE = 30.0
"""Seconds that uploads wait for the sweep to be registered, so that their runs join it."""

RETRIES = (2.0, 5.0, 10.0, 20.0, 40.0, 60.0)
"""Seconds between attempts at a file; the last one repeats."""


class Follower:
    """Handler of the driver's messages and of all uploads, on the event loop of the client.

    Args:
        server: The connection to the server.
        say: Writes one message to the driver.
    """

    def __init__(self, server: Server, say: Callable[..., None]) -> None:
        self._server = server
        self._say = say
        self._sweep: asyncio.Task[str | None] | None = None
        self._uploads: list[asyncio.Task[None]] = []

    async def run(self, messages: "asyncio.Queue[dict[str, Any] | None]") -> None:
        """Handle messages until `close`, then wait until the files are uploaded; the message None: the driver died."""
        while (message := await messages.get()) is not None:
            if "order" in message:
                self._sweep = asyncio.ensure_future(self._register(**message["order"]))
            elif "follow" in message:
                path, live = Path(message["follow"]), message["live"]
                self._uploads.append(asyncio.ensure_future(self._upload(path, live)))
            elif "close" in message:
                await asyncio.gather(*self._uploads)
                return
        if self._uploads:
            await asyncio.wait(self._uploads, timeout=DEATH_GRACE)

    async def _register(
        self, project: str, entity: str | None, group: str, sweep: dict[str, Any] | None, sweep_id: str | None
    ) -> str | None:
        """Return the id of the sweep that runs join; register the sweep if it has no id yet."""
        if sweep is None or sweep_id is not None:
            return sweep_id
        try:
            sweep_id = await asyncio.to_thread(register, sweep, group, project, entity)
            self._say(sweep=sweep_id)
            return sweep_id
        except Exception as error:
            self._say(note=f"the sweep was not registered ({type(error).__name__})")
            return None

    async def _upload(self, path: Path, live: bool) -> None:
        """Try to upload a file until the server has all of it."""
        assert self._sweep is not None
        await asyncio.wait([self._sweep], timeout=SWEEP_PATIENCE)
        for pause in itertools.chain(RETRIES, itertools.repeat(RETRIES[-1])):
            try:
                sweep_id = self._sweep.result() if self._sweep.done() else None
                if await self._server.upload(path, live, sweep_id):
                    self._say(uploaded=str(path))
                    return
                self._say(note="the server did not take everything, trying again")
            except (MailboxClosedError, HandleAbandonedError):
                os._exit(1)  # the client's service is gone; the driver starts this process again
            except Exception as error:
                self._say(note=f"uploading failed ({type(error).__name__}), trying again")
            await asyncio.sleep(pause)


def main() -> None:
    """Run a `Follower` on the messages from standard input."""
    events = os.fdopen(os.dup(1), "w")
    with open(os.devnull, "w") as nowhere:  # the client prints names and addresses of the account
        os.dup2(nowhere.fileno(), 1)
    lock = threading.Lock()

    def say(**event: Any) -> None:
        with lock:
            events.write(json.dumps(event) + "\n")
            events.flush()

    clean_environment(os.environ)
    with scratch() as folder:
        server = Server(folder)
        messages: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

        async def serve() -> None:
            loop = asyncio.get_running_loop()

            def read() -> None:
                for line in sys.stdin:
                    loop.call_soon_threadsafe(messages.put_nowait, json.loads(line))
                loop.call_soon_threadsafe(messages.put_nowait, None)

            threading.Thread(target=read, daemon=True).start()
            await Follower(server, say).run(messages)

        server.run(serve)
    os._exit(0)  # its background service may still wait for the server, and ends with this process


if __name__ == "__main__":
    main()
