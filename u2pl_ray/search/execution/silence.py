"""Trials that are not heard of any more, although their processes seem to live."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from u2pl_ray.train.watchdog import NAMED

_LATER = 600.0
"""Seconds beyond a worker's patience: a worker that waits too long ends by itself, and Ray looks after frozen ones."""


class Silence:
    """How long each trial has been silent: without a report, or a sign of life of a worker.

    Args:
        patience: seconds that a worker may wait for one thing.
        clock: seconds since 1970; given in tests.
    """

    def __init__(self, patience: float, clock: Callable[[], float] = time.time) -> None:
        self._limit, self._clock = patience + _LATER, clock
        self._heard: dict[str, float] = {}
        self._begun: dict[str, float] = {}

    def heard(self, trial: str) -> None:
        """Hear of a trial now."""
        self._heard[trial] = self._clock()

    def of(self, live: Sequence[str], life: Mapping[str, float]) -> Iterator[tuple[str, float]]:
        """Yield trials that have been silent for too long, and for how many seconds; each counts as heard of then.

        Args:
            live: the trials that run.
            life: when each was last heard of, in seconds since 1970.
        """
        now = self._clock()
        self._begun = {trial: self._begun.get(trial, now) for trial in live}
        self._heard = {trial: max(self._heard.get(trial, now), life.get(trial, 0.0)) for trial in live}
        for trial, last in self._heard.items():
            if now - last > self._limit:
                self._heard[trial] = now
                yield trial, now - last

    def unheard(self) -> list[tuple[str, float]]:
        """Return the trials that were never heard of, and when they began: `NAMED` seconds ago or more."""
        now = self._clock()
        return [
            (trial, since)
            for trial, since in self._begun.items()
            if self._heard[trial] <= since and now - since >= NAMED
        ]
