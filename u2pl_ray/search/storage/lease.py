"""One driver per experiment: a lease in a file or object whose time stamp the owner renews while it lives."""

import contextlib
import json
import os
import platform
import signal
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

from u2pl_ray.config.errors import UserError
from u2pl_ray.search.storage.lease_marks import Mark
from u2pl_ray.system.periodic import every

BEAT = 5.0
"""Seconds between two touches."""
STALE = 30.0
"""Seconds without a touch after which the owner counts as dead; longer than a busy file server delays a touch."""

_DYING = 2.0
"""Seconds for which a killed process may still be listed on a busy machine."""


class Lease:
    """Lease of an experiment, held while it runs: two drivers would start the same trials twice.

    A second driver on the owner's machine is refused if the owner's process lives, and takes over at once otherwise.
    On another machine it watches the mark until it is touched (refused) or was not touched for `stale` s (takes over).

    Args:
        mark: file or object in which the lease is kept.
        experiment: name for messages.
        beat, stale: see `BEAT` and `STALE`.

    Attributes:
        lost: whether another driver has taken it although this one lives.

    Raises:
        UserError: (on entering) another process runs the experiment, or the mark cannot be read or written.
    """

    def __init__(self, mark: Mark, experiment: str, beat: float = BEAT, stale: float = STALE) -> None:
        self._mark, self._experiment, self._beat, self._stale = mark, experiment, beat, stale
        self._mine = {"id": uuid.uuid4().hex, "machine": _machine(), "process": os.getpid(), "born": _born(os.getpid())}
        self.lost = False
        self._held = time.monotonic()
        self._beating = contextlib.ExitStack()

    def __enter__(self) -> "Lease":
        try:
            while not self._mark.take(self._content, lambda: self._owner() is None):
                owner = self._owner()
                if owner is None:
                    time.sleep(self._beat)  # if the owner lives, it rewrites the mark meanwhile
                    owner = self._owner()
                if owner is not None:
                    self._refuse_or_outlive(owner)
                self._mark.remove()
        except OSError as error:
            why = error.strerror or error
            raise UserError(f"{self._experiment}: its {self._mark.name} cannot be taken ({why})") from None
        self._held = time.monotonic()
        self._beating.enter_context(every(self._beat, self._hold, "lease"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._beating.close()
        with contextlib.suppress(OSError):  # the others see from the mark that its owner is gone
            owner = self._owner()
            if owner is not None and owner["id"] == self._mine["id"]:
                self._mark.remove()

    def silent(self) -> float:
        """Return the seconds since the storage took the last beat."""
        return time.monotonic() - self._held

    def held(self) -> bool:
        """Tell whether a driver holds the lease, without taking it: another driver may take it meanwhile.

        For an owner on another machine, the time of the last touch decides; clocks must agree within `stale` seconds.
        """
        try:
            owner = self._owner()
        except OSError:
            owner = None
        if owner is None:
            return False
        if owner["machine"] == self._mine["machine"]:
            return _born(owner["process"]) == owner["born"]
        return time.time() - self._mark.touched() < self._stale

    def interrupt(self) -> int:
        """Ask the owner to stop, as Ctrl-C would, and return its process id.

        Raises:
            UserError: there is no owner, or it is on another machine or another user's.
        """
        owner = self._owner() if self.held() else None
        if owner is None:
            raise UserError(f"{self._experiment}: nobody runs it")
        if owner["machine"] != self._mine["machine"]:
            raise UserError(
                f"{self._experiment}: is being run on another machine: stop it there (Ctrl-C, or its queue's command)"
            )
        process: int = owner["process"]
        try:
            os.kill(process, signal.SIGTERM)
        except OSError as error:
            raise UserError(f"{self._experiment}: process {process} can't be stopped ({error.strerror})") from None
        return process

    def _refuse_or_outlive(self, owner: dict[str, Any]) -> None:
        """Wait until the owner is gone.

        Raises:
            UserError: the owner lives.
        """
        name = self._experiment
        if owner["machine"] == self._mine["machine"]:
            patience = time.monotonic() + _DYING
            while _born(owner["process"]) == owner["born"] and time.monotonic() < patience:
                time.sleep(0.05)
            if _born(owner["process"]) == owner["born"]:
                raise UserError(f"{name}: is being run by process {owner['process']}; stop that one first, or wait")
        else:
            seen, quiet_since = self._mark.touched(), time.monotonic()
            while time.monotonic() - quiet_since < self._stale:
                time.sleep(min(0.5, self._stale / 10))
                if self._mark.touched() != seen:
                    raise UserError(f"{name}: is being run on another machine; stop that one first, or wait")

    def _owner(self) -> dict[str, Any] | None:
        """Read who holds the lease; None if nobody does or the mark is damaged.

        Raises:
            OSError: the mark cannot be read at present.
        """
        try:
            owner = json.loads(self._mark.read())
        except (FileNotFoundError, ValueError):
            return None
        whole = isinstance(owner, dict) and {"id", "machine", "process", "born"} <= owner.keys()
        return owner if whole and isinstance(owner["process"], int) else None

    @property
    def _content(self) -> bytes:
        return json.dumps(self._mine).encode()

    def _hold(self) -> None:
        """Touch the mark; write it again if it is gone or damaged; set `lost` if another driver has it."""
        owner = self._owner()
        if owner is None:
            self._mark.write(self._content)
        elif owner["id"] != self._mine["id"]:
            self.lost = True
        else:
            self._mark.touch(self._content)
        self._held = time.monotonic()


def _machine() -> str:
    """Return a hash that identifies this machine (or this start of a container) without naming it."""
    boot = _read("/proc/sys/kernel/random/boot_id")
    return uuid.uuid5(uuid.NAMESPACE_DNS, f"{platform.node()}/{boot}").hex


def _born(process: int) -> str | None:
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
