"""Several drivers on one study: which of them live, and which trials each of them runs.

Every driver increments a counter in the study. A driver whose counter stands still, or that signed off, has lost its
trials: another driver continues them. Only one driver at a time starts a trial, see `database.exclusively`.
"""

import contextlib
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType

from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.study.trial_record import State, TrialRecord
from u2pl_ray.system.periodic import every

BEAT = 5.0
"""Seconds between two increments."""
STALE = 30.0
"""Seconds without an increment after which a driver counts as dead; longer than a busy database delays one."""

_PREFIX = "driver/"
_GONE = -1


class Presence:
    """Presence of this driver on a shared study: a context in which its counter is incremented.

    Args:
        study: the study.
        beat, stale: see `BEAT` and `STALE`.
        clock: returns seconds.
    """

    def __init__(
        self, study: TrialStudy, beat: float = BEAT, stale: float = STALE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = uuid.uuid4().hex[:12]
        self._study, self._beat, self._stale, self._clock = study, beat, stale, clock
        self._seen: dict[str, tuple[int, float]] = {}
        self._count = 0
        self._beating = ExitStack()

    def __enter__(self) -> "Presence":
        self.beat()
        self._beating.enter_context(every(self._beat, self.beat, "presence"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._beating.close()
        with contextlib.suppress(Exception):  # the others see that the counter stands still
            self._study.study.set_user_attr(_PREFIX + self.name, _GONE)

    def beat(self) -> None:
        """Increment the counter."""
        self._count += 1
        self._study.study.set_user_attr(_PREFIX + self.name, self._count)

    def others(self) -> list[TrialRecord]:
        """Return the running trials of other drivers."""
        records = self._study.all_records()
        return [record for record in records if record.state == State.RUNNING and record.driver != self.name]

    def dead(self, driver: str) -> bool:
        """Tell whether a driver is known to be dead.

        A driver that was not seen before counts as alive until its counter has stood still for `stale` seconds.

        Args:
            driver: its name; the empty name is no driver, and counts as dead after `stale` seconds.
        """
        if driver == self.name:
            return False
        count = self._study.study.user_attrs.get(_PREFIX + driver, 0)
        if count == _GONE:
            return True
        known, since = self._seen.get(driver, (None, 0.0))
        if count != known:
            self._seen[driver] = (count, self._clock())
            return False
        return self._clock() - since >= self._stale


def running(study: TrialStudy, beat: float = BEAT) -> bool:
    """Tell whether any driver works on the study, by watching the counters for a while.

    Args:
        study: the study.
        beat: seconds between two increments.
    """
    before = _counts(study)
    if all(count == _GONE for count in before.values()):
        return False
    until = time.monotonic() + 3 * beat
    while time.monotonic() < until:
        time.sleep(beat / 5)
        if any(count not in (_GONE, before.get(driver)) for driver, count in _counts(study).items()):
            return True
    return False


def _counts(study: TrialStudy) -> dict[str, int]:
    return {key: value for key, value in study.study.user_attrs.items() if key.startswith(_PREFIX)}
