"""Processes below this one: found, killed, and a Ray cluster among them."""

import contextlib
import ctypes
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from u2pl_ray.train.launch import WORKER_ENVIRONMENT

ROOT = Path(__file__).parents[1]


def adopt_orphans() -> None:
    """Become the parent of what descendants leave behind, so that all of a killed search can be found (Linux)."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def with_workers_allocator(module: str) -> None:
    """Run this program anew, as `module`, with the allocator of our CPU workers: it is set when a process starts."""
    if not WORKER_ENVIRONMENT.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], os.environ | WORKER_ENVIRONMENT)


def descendants(process: int) -> list[int]:
    """Ids of all processes below one, from /proc."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [process]
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return found


def kill_all(spare: frozenset[int] = frozenset()) -> None:
    """SIGKILL all descendants of this process but those in `spare`, until there are none."""
    while found := set(descendants(os.getpid())) - spare:
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.05)


@contextlib.contextmanager
def cluster(folder: Path, cpus: int) -> Iterator[str]:
    """A Ray cluster that outlives the searches on it; its address."""
    code = (
        "import json, ray, sys, time\n"
        f"context = ray.init('local', num_cpus={cpus}, include_dashboard=False, log_to_driver=False)\n"
        "print(json.dumps(context.address_info['gcs_address']), flush=True)\n"
        "sys.stdin.read()\n"
    )
    # What connects to it needs its token: through this process's environment.
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder), "RAY_TMPDIR": "/tmp"}
    environment |= {"U2PL_RAY_CACHE": str(folder / "cache"), "RAY_worker_niceness": "0"}
    environment.pop("RAY_ADDRESS", None)
    others = frozenset(descendants(os.getpid()))
    holder = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert holder.stdout is not None
    try:
        yield json.loads(holder.stdout.readline())
    finally:
        kill_all(others)
        del os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"]
