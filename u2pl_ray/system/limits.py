"""What this process may use of the machine: its CPU affinity and its control groups, as Slurm and containers set them.

Ray itself looks at the top control group alone, which is the process's own in a container and nobody's under Slurm.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path


def usable_cpus(root: Path = Path("/")) -> int:
    """Return how many CPUs this process may use, at least 1: of its affinity and its control groups' quotas.

    Args:
        root: where /proc and /sys lie.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for group in _groups(root, "cpu") if (quota := _cpus(group)) is not None]
    return max(1, math.floor(min([float(cpus), *quotas])))


def memory_limit(root: Path = Path("/")) -> int | None:
    """Return the bytes that this process's control groups allow it; None if they set no limit.

    Args:
        root: where /proc and /sys lie.
    """
    limits = []
    for group in _groups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _read(group / name)
            if text.isdigit() and int(text) < 1 << 60:  # version 1 writes a huge number for none
                limits.append(int(text))
    return min(limits, default=None)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of the process's control group for a controller and of those above it."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / (controllers and controller)
        parts = [part for part in path.split("/") if part]
        for length in range(len(parts), -1, -1):
            yield top.joinpath(*parts[:length])


def _cpus(group: Path) -> float | None:
    """Return a group's quota in CPUs; None if it has none."""
    quota, _, period = _read(group / "cpu.max").partition(" ")  # version 2
    if not quota:
        quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
    try:
        cpus = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max", or no such file
        return None
    return cpus if cpus > 0 else None


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
