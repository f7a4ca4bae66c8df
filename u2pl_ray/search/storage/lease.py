"""One driver per experiment: a file that its owner keeps touching while it lives."""

import contextlib
import json
import os
import platform
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

from u2pl_ray.config.errors import UserError

BEAT = 5.0
"""Seconds between two touches."""
STALE = 30.0
"""Seconds without a touch after which the owner is taken for dead; longer than a busy file server delays one."""

_DYING = 2.0
"""Seconds a killed process may still be seen on a busy machine."""


class Lease:
    """Held while an experiment runs: two drivers would start the same trials twice.

    A second one on the same machine is refused if the owner's process lives, and takes over at once if it does not.
    From another machine it watches the file until it is touched (refused) or has been quiet for long (takes over).

    Args:
        path: the lease's file.
        beat, stale: see `BEAT` and `STALE`.

    Attributes:
        lost: another has taken it, although this one lives.

    Raises:
        UserError: (on entering) another process runs the experiment, or the file cannot be read or written.
    """

    def __init__(self, path: Path, beat: float = BEAT, stale: float = STALE) -> None:
        self._path, self._beat, self._stale = path, beat, stale
        self._mine = {"id": uuid.uuid4().hex, "machine": _machine(), "process": os.getpid(), "born": _born(os.getpid())}
        self.lost = False
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> "Lease":
        try:
            while not self._take():
                owner = self._owner()
                if owner is None:
                    time.sleep(self._beat)  # if whoever holds it lives, it will be whole again
                    owner = self._owner()
                if owner is not None:
                    self._refuse_or_outlive(owner)
                self._remove()
        except OSError as error:
            name = self._path.parent.name
            raise UserError(f"{name}: its {self._path.name} cannot be taken ({error.strerror or error})") from None
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        self._thread.join()
        with contextlib.suppress(OSError):  # it will be seen to be nobody's
            owner = self._owner()
            if owner is not None and owner["id"] == self._mine["id"]:
                self._remove()

    def held(self) -> bool:
        """Whether someone holds it, told by looking alone: nobody is kept from taking it meanwhile.

        From another machine by the time of the last touch, which supposes clocks that agree within `stale`.
        """
        try:
            owner = self._owner()
        except OSError:
            owner = None
        if owner is None:
            return False
        if owner["machine"] == self._mine["machine"]:
            return _born(owner["process"]) == owner["born"]
        return time.time() - self._touched() < self._stale

    def _refuse_or_outlive(self, owner: dict[str, Any]) -> None:
        """Return when the owner is gone."""
        name = self._path.parent.name
        if owner["machine"] == self._mine["machine"]:
            patience = time.monotonic() + _DYING
            while _born(owner["process"]) == owner["born"] and time.monotonic() < patience:
                time.sleep(0.05)
            if _born(owner["process"]) == owner["born"]:
                raise UserError(f"{name}: is being run by process {owner['process']}; stop that one first, or wait")
        else:
            seen, quiet_since = self._touched(), time.monotonic()
            while time.monotonic() - quiet_since < self._stale:
                time.sleep(min(0.5, self._stale / 10))
                if self._touched() != seen:
                    raise UserError(f"{name}: is being run on another machine; stop that one first, or wait")

    def _owner(self) -> dict[str, Any] | None:
        """Who holds it; None if nobody does, or the file is damaged. OSError: that cannot be told at present."""
        try:
            owner = json.loads(self._content())
        except (FileNotFoundError, ValueError):
            return None
        whole = isinstance(owner, dict) and {"id", "machine", "process", "born"} <= owner.keys()
        return owner if whole and isinstance(owner["process"], int) else None

    def _content(self) -> bytes:
        return self._path.read_bytes()

    def _touched(self) -> float:
        try:
            return self._path.stat().st_mtime
        except OSError:
            return 0.0

    def _take(self) -> bool:
        """Make the file ours, with its content, if there is none; of several at once, one succeeds."""
        partial = self._partial()
        try:
            os.link(partial, self._path)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            try:
                with self._path.open("x", encoding="utf-8") as file:
                    file.write(json.dumps(self._mine))
            except FileExistsError:
                return False
        finally:
            partial.unlink()
        return True

    def _keep(self) -> None:
        while not self._released.wait(self._beat):
            with contextlib.suppress(OSError):  # the next one may get through
                self._hold()

    def _hold(self) -> None:
        """Touch it; put it back if it is gone or damaged; see whether another has it."""
        owner = self._owner()
        if owner is None:
            self._write()
        elif owner["id"] != self._mine["id"]:
            self.lost = True
        else:
            self._touch()

    def _touch(self) -> None:
        os.utime(self._path)

    def _write(self) -> None:
        self._partial().replace(self._path)

    def _partial(self) -> Path:
        partial = self._path.with_suffix(f".{self._mine['id']}")
        partial.write_text(json.dumps(self._mine), "utf-8")
        return partial

    def _remove(self) -> None:
        self._path.unlink(missing_ok=True)


def _machine() -> str:
    """Something that tells this machine (or container, since it was started) from others without naming it."""
    boot = _read("/proc/sys/kernel/random/boot_id")
    return uuid.uuid5(uuid.NAMESPACE_DNS, f"{platform.node()}/{boot}").hex


def _born(process: int) -> str | None:
    """When a process of this machine started, None if there is none: numbers are used again, starts are not."""
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
