"""One driver per experiment: a lease in a file or object whose time stamp the owner renews while it lives."""

import contextlib
import json
import os
import signal
import time
import uuid
from types import TracebackType
from typing import Any

from u2pl_ray.config.errors import UserError
from u2pl_ray.search.storage.lease_marks import Mark
from u2pl_ray.search.storage.processes import born, machine
from u2pl_ray.system.periodic import every

BEAT = 5.0
"""Seconds between two touches."""
STALE = 30.0
"""Seconds without a touch after which the owner counts as dead; longer than a busy file server delays a touch."""

_ELSEWHERE = "is being run on another machine or in another container"
_DYING = 2.0
"""Seconds for which a killed process may still be listed on a busy machine."""


class Lease:
    """Lease of an experiment, held while it runs: two drivers would start the same trials twice.

    A second driver on the owner's machine is refused if the owner's process lives, and takes over at once otherwise.
    Elsewhere (another machine, or another container of this one) it watches the mark until it is touched (refused) or
    was not touched for `stale` s (takes over). An owner that was only asleep finds out, see `keeps`.

    Args:
        mark: file or object in which the lease is kept.
        experiment: name for messages.
        beat, stale: see `BEAT` and `STALE`.

    Attributes:
        successor: who has taken it although this driver lives, as a clause; empty while this driver has it.

    Raises:
        UserError: (on entering) another process runs the experiment, or the mark cannot be read or written.
    """

    def __init__(self, mark: Mark, experiment: str, beat: float = BEAT, stale: float = STALE) -> None:
        self._mark, self._experiment, self._beat, self._stale = mark, experiment, beat, stale
        self._mine = {"id": uuid.uuid4().hex, "machine": machine(), "process": os.getpid(), "born": born(os.getpid())}
        self.successor = ""
        self._held = _clocks()
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
        self._held = _clocks()
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
        return time.monotonic() - self._held[0]

    @property
    def lost(self) -> bool:
        """Return whether another driver has taken it although this one lives."""
        return bool(self.successor)

    def keeps(self) -> bool:
        """Return whether this driver still has it; asks the mark if a beat is overdue, as after a sleep."""
        if self._overdue() > 2 * self._beat:
            with contextlib.suppress(OSError):  # a storage that does not answer tells of no other driver
                self._hold()
        return not self.lost

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
            return born(owner["process"]) == owner["born"]
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
            raise UserError(f"{self._experiment}: {_ELSEWHERE}: stop it there (Ctrl-C, or its queue's command)")
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
            while born(owner["process"]) == owner["born"] and time.monotonic() < patience:
                time.sleep(0.05)
            if born(owner["process"]) == owner["born"]:
                raise UserError(f"{name}: is being run by process {owner['process']}; stop that one first, or wait")
        else:
            seen, quiet_since = self._mark.touched(), time.monotonic()
            while time.monotonic() - quiet_since < self._stale:
                time.sleep(min(0.5, self._stale / 10))
                if self._mark.touched() != seen:
                    raise UserError(f"{name}: {_ELSEWHERE}; stop that one first, or wait")

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

    def _overdue(self) -> float:
        """Return the seconds since the last beat, by the clock that says more: one stops while a machine sleeps."""
        return max(now - then for now, then in zip(_clocks(), self._held, strict=True))

    def _hold(self) -> None:
        """Touch the mark; write it again if it is gone or damaged; note who has it if it was taken."""
        if self.lost:
            return
        now, owner = _clocks(), self._owner()
        if owner is None and self._overdue() > self._stale:
            self.successor = "another driver may have had it and ended, as its lease is gone"
        elif owner is None:
            self._mark.write(self._content)
        elif owner["id"] != self._mine["id"]:
            here = owner["machine"] == self._mine["machine"]
            where = "on this machine" if here else "on another machine or in another container"
            self.successor = f"process {owner['process']} {where} has taken over"
        else:
            self._mark.touch(self._content)
        self._held = now


def _clocks() -> tuple[float, float]:
    return time.monotonic(), time.time()
