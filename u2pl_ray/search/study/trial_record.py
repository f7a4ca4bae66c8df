"""Plain records of a study's trials."""

import math
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple

from u2pl_ray.search.study.companion import Companion, Kind


class State(str, Enum):
    """State of a trial."""

    PENDING = "PENDING"
    """Queued with given settings; not started."""
    RUNNING = "RUNNING"
    """Started and not finished: training now, or waiting for `resume`."""
    COMPLETED = "COMPLETED"
    STOPPED = "STOPPED"
    """Stopped early by the scheduler."""
    FAILED = "FAILED"
    INFEASIBLE = "INFEASIBLE"
    """Settings that cannot work: out of memory, or a combination that is not valid; not tried again."""

    @property
    def finished(self) -> bool:
        """Return whether the state is final."""
        return self not in (State.PENDING, State.RUNNING)


@dataclass(frozen=True)
class TrialRecord:
    """One trial of the study, as plain data.

    Attributes:
        id: zero-padded number.
        number: place in the order of creation, from 0.
        state: see `State`.
        params: searched settings by dotted path; empty while queued.
        values: the objective by epoch (from 1).
        value: the objective at the end, None unless COMPLETED or STOPPED.
        objectives: all objectives at the end, the first one first; empty unless COMPLETED.
        reason: why it FAILED (nan, error, lost; environment: data, weights, network or machine) or is INFEASIBLE
            (memory, refused by the training, invalid before it started).
        detail: one line more about the reason.
        note: where the trial comes from, such as "paper".
        fork: where a fork comes from, see `Fork`; None for a trial that starts from scratch.
        driver: name of the driver that runs it, if there can be several.
        inherited: first epochs that it did not train itself: it goes on from a shared warm-up.
        companion: what it is for, if it is no proposal of the search, see `Companion`.
        retries: number of the failed trial that this one repeats, from its last checkpoint.
        started, finished: naive local time of the process that reads it.
    """

    id: str
    number: int
    state: State
    params: dict[str, Any] = field(default_factory=dict)
    values: dict[int, float] = field(default_factory=dict)
    value: float | None = None
    objectives: tuple[float, ...] = ()
    reason: str = ""
    detail: str = ""
    note: str = ""
    fork: "Fork | None" = None
    driver: str = ""
    companion: Companion | None = None
    retries: int | None = None
    inherited: int = 0
    started: datetime | None = None
    finished: datetime | None = None

    @property
    def epochs(self) -> int:
        """Return the number of epochs done."""
        return max(self.values, default=0)

    @property
    def settings(self) -> dict[str, Any]:
        """Return all settings by dotted path that the trial has over the search's configuration."""
        return {**self.params, **({} if self.companion is None else self.companion.changes)}

    @property
    def replicate(self) -> bool:
        """Return whether it trains a setting of the search, or a baseline, once more on another seed."""
        return self.companion is not None and self.companion.kind == Kind.REPLICATE

    @property
    def diverged(self) -> bool:
        """Return whether it failed as its loss or objective was no number any more."""
        return self.state == State.FAILED and self.reason == "nan"

    @property
    def failed(self) -> bool:
        """Return whether it failed or is infeasible."""
        return self.state in (State.FAILED, State.INFEASIBLE)

    @property
    def latest(self) -> float | None:
        """Return the objective at the end, or else at the latest epoch; None before the first epoch."""
        return self.value if self.value is not None else self.values.get(self.epochs)

    @property
    def result(self) -> float | None:
        """Return the latest objective if it may be compared with other trials': it is finite, and this one not failed.

        What a training reported before it diverged is no merit of its settings.
        """
        latest = self.latest
        return None if self.failed or latest is None or not math.isfinite(latest) else latest


PAPER = "paper"
"""Note of the trial of the paper's setting."""

RETRYABLE = ("environment", "error", "lost")
"""Reasons of a failure after which the same settings may work."""


class Fork(NamedTuple):
    """Origin of a trial that continues another one's training: numbers of trials, and epochs done by then."""

    parent: int
    epoch: int
    replaces: int


FORK = "fork"
"""User attribute of a fork in the study: a `Fork`, as a list."""


def trial_id(number: int) -> str:
    """Return the id of trial `number`: the number with leading zeros."""
    return f"{number:04d}"


def state_word(trial: TrialRecord, running: bool) -> str:
    """Return a trial's state; INTERRUPTED for one that has not ended in a search that nobody runs."""
    return "INTERRUPTED" if trial.state == State.RUNNING and not running else trial.state.value
