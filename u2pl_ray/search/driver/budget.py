"""Limits of a search, and its use so far over all of its sessions and drivers."""

import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from u2pl_ray.config.errors import UserError
from u2pl_ray.search.study.allowance import Allowance
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.study.trial_record import State, TrialRecord

_SESSION = "session/"
_SAVE_SECONDS = 30.0
"""Seconds between two writes of the use to the study; a kill loses at most the use since the last one."""


@dataclass(frozen=True)
class Budget:
    """Limits of a search beside its number of trials; None: no limit.

    Attributes:
        hours: of wall time in which a driver ran.
        device_hours: GPUs (on CPU: workers) of a trial times the wall time of its processes, over all trials.
        patience: number of results in a row without improvement after which the search ends.
        patience_from: index of the first result that counts for `patience`; `extend` sets it to the next result.
        trainings: all that is trained, in full trainings' worth, see `study.allowance`.
        replicating: share of the budget for the leaders and the paper's setting on new seeds. Hours are shared out by
            what they buy in trainings; a number of trials and the patience end exploring alone.
        confirming: trainings on top, for replicates alone.
        looks: how often an end of the budget came or will come: `extend` and `confirm` add one.
        closed: trainings' worth, those for `confirming` aside, when `confirm` found the limits used. Until `extend`
            raises one, they do not apply, and only replicates are trained. None: the limits apply.

    Raises:
        UserError: (from `check`) a limit that is not positive.
    """

    hours: float | None = None
    device_hours: float | None = None
    patience: int | None = None
    patience_from: int = 0
    trainings: float | None = None
    replicating: float = 0.0
    confirming: int = 0
    looks: int = 1
    closed: float | None = None

    def check(self) -> None:
        """Check the limits.

        Raises:
            UserError: one is not a positive finite number.
        """
        for flag, value in (
            ("--trainings", self.trainings),
            ("--hours", self.hours),
            ("--gpu-hours", self.device_hours),
            ("--patience", self.patience),
        ):
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"{flag} {value:g}: give a number above 0")

    @property
    def in_force(self) -> "Budget":
        """Return the limits that apply now, see `closed`."""
        if self.closed is None:
            return self
        return replace(
            self, hours=None, device_hours=None, patience=None, trainings=self.closed, replicating=1.0, closed=None
        )

    @property
    def limited(self) -> bool:
        """Return whether any limit is set."""
        return any(it is not None for it in (self.trainings, self.hours, self.device_hours, self.patience))

    @property
    def answers(self) -> bool:
        """Return whether the search is judged by one posterior over all of its trainings."""
        return self.trainings is not None or self.replicating > 0

    def words(self, gpu: bool) -> list[str]:
        """Describe the limits for the user.

        `gpu`: whether `device_hours` counts GPUs; otherwise workers.
        """
        device = "GPU-hours" if gpu else "worker-hours (there is no GPU: a worker counts as one)"
        now = self.in_force
        return [
            *([f"{now.trainings + now.confirming:g} trainings' worth"] if now.trainings is not None else []),
            *([f"{now.hours:g} hours"] if now.hours is not None else []),
            *([f"{now.device_hours:g} {device}"] if now.device_hours is not None else []),
            *([f"{now.patience} results without a better one"] if now.patience is not None else []),
        ]

    def allowance(self, epochs: int, trials: int | None) -> Allowance:
        """Return what may be spent in trainings.

        Args:
            epochs: of one training.
            trials: limit of their number, None for no limit.
        """
        now = self.in_force
        stalls = None if now.patience is None else (now.patience, now.patience_from)
        limits = f"{now.trainings} trainings, {trials} trials, {now.hours} h, {now.device_hours} device-h, {stalls}"
        return Allowance(epochs, now.trainings, now.replicating, now.confirming, limits)


NO_LIMIT = Budget()


class Meter:
    """Counter of what this session uses, added to the use of earlier sessions and other drivers.

    The study stores per session its start, its end so far, and its device-seconds.

    Args:
        study: where the use is stored.
        budget: the limits.
        devices: number of devices of one trial.
        clock: returns seconds since 1970.

    Attributes:
        spent: which limit is reached, in words; empty if none is.
        share: how much of the hours is used, 0 .. 1; of several limits the one that is nearest to its end.
        stalled: why exploring ends although hours are left, in words; empty if it does not.
    """

    def __init__(
        self, study: TrialStudy, budget: Budget, devices: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._study, self._budget, self._devices, self._clock = study, budget.in_force, devices, clock
        self._key = f"{_SESSION}{uuid.uuid4().hex[:8]}"
        self._start = self._latest = self._saved = clock()
        self._device_seconds = 0.0
        self._others = self._read_others()
        self.spent, self.stalled, self.share = "", "", 0.0

    def tick(self, live: int) -> None:
        """Count the time since the last call, in which `live` trials had their processes."""
        now = self._clock()
        self._device_seconds += max(0.0, now - self._latest) * live * self._devices
        self._latest = now
        if now - self._saved >= _SAVE_SECONDS:
            self.save()
        hours, device_hours = used([*self._others, self._mine()])
        for use, limit, unit in (
            (hours, self._budget.hours, "hours"),
            (device_hours, self._budget.device_hours, "device-hours"),
        ):
            if limit is not None:
                self.share = max(self.share, use / limit)
                if use >= limit:
                    self.spent = f"{use:.3g} of {limit:g} {unit} are used"

    def look(self, study: TrialStudy) -> None:
        """Update the results that count for the patience, when a trial has ended or the session begins."""
        if self._budget.patience is not None:
            idle = without_improvement(results(study.records()), study.better, self._budget.patience_from)
            if idle >= self._budget.patience:
                why = f"the best has not moved for {idle} results"
                self.spent, self.stalled = (self.spent, why) if self._budget.replicating else (why, "")

    def save(self) -> None:
        """Write this session's use to the study, and read the use of the others."""
        self._saved = self._latest
        self._study.study.set_user_attr(self._key, self._mine())
        self._others = self._read_others()

    def _mine(self) -> list[float]:
        return [self._start, self._latest, self._device_seconds]

    def _read_others(self) -> list[list[float]]:
        return [session for key, session in _sessions(self._study) if key != self._key]


def used(sessions: Iterable[Sequence[float]]) -> tuple[float, float]:
    """Compute hours in which at least one session ran, and device-hours of all: [start, end, device-seconds] each."""
    wall, covered, devices = 0.0, float("-inf"), 0.0
    for start, end, device_seconds in sorted(sessions, key=lambda session: session[0]):
        wall += max(0.0, end - max(start, covered))
        covered = max(covered, end)
        devices += device_seconds
    return wall / 3600, devices / 3600


def spent(study: TrialStudy, budget: Budget) -> str:
    """Describe which limit a search has reached; an empty string if none.

    Args:
        study: of the search.
        budget: its limits.
    """
    meter = Meter(study, budget, 0.0)
    meter.tick(0)
    meter.look(study)
    return meter.spent


def used_by(study: TrialStudy) -> tuple[float, float]:
    """Return the hours and device-hours a search has used so far, as stored in its study."""
    return used(session for _, session in _sessions(study))


def results(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials with a result, in the order in which they ended."""
    ended = [record for record in records if record.state in (State.COMPLETED, State.STOPPED) and record.finished]
    return sorted(ended, key=lambda record: (record.finished, record.number))


def without_improvement(
    ended: Sequence[TrialRecord], better: Callable[[TrialRecord, TrialRecord], bool], start: int = 0
) -> int:
    """Count the results since the last improvement.

    A trial that was stopped early is no improvement: it was stopped because others were better.

    Args:
        ended: trials with a result, in the order in which they ended.
        better: tells whether its first trial is better than its second.
        start: index of the first result that is counted.
    """
    complete = [index for index, record in enumerate(ended) if record.state == State.COMPLETED]
    moved = [
        index
        for position, index in enumerate(complete)
        if all(better(ended[index], ended[other]) for other in complete[:position])
    ]
    return len(ended) - max(start, moved[-1] + 1 if moved else 0)


def _sessions(study: TrialStudy) -> list[tuple[str, list[float]]]:
    return [(key, value) for key, value in study.study.user_attrs.items() if key.startswith(_SESSION)]
