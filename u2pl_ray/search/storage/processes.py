"""Tell processes apart that may have written the same file: of which machine they are, and whether they live."""

import contextlib
import os
import platform
import uuid
from pathlib import Path


def machine() -> str:
    """Return a hash that identifies where process ids mean the same: this machine, or this start of a container."""
    boot, numbers = _read("/proc/sys/kernel/random/boot_id"), ""
    with contextlib.suppress(OSError):  # not Linux
        numbers = os.readlink("/proc/self/ns/pid")
    return uuid.uuid5(uuid.NAMESPACE_DNS, f"{platform.node()}/{boot}/{numbers}").hex


def born(process: int) -> str | None:
    """Return the start time of a process of this machine, None if there is none: process ids are used again."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    fields = _read(f"/proc/{process}/stat").rpartition(")")[2].split()  # behind the name, which may hold anything
    if len(fields) < 20:  # not Linux: the number must do
        return ""
    return None if fields[0] == "Z" else fields[19]  # state and starttime, proc(5)


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except OSError:
        return ""
