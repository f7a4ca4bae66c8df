"""How long a search will still take, at the pace so far."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from statistics import mean

from u2pl_ray.search.study.remaining import counted
from u2pl_ray.search.study.trial_record import State, TrialRecord


def time_left(
    records: Sequence[TrialRecord], total: int | None, epochs: int, now: datetime | None = None
) -> timedelta | None:
    """Return how long the trials that are left will take at the pace so far; None if no epoch has been reported.

    The epochs that are left: what running trials may still do, and for each further trial the mean of those that
    ended. At the pace of the whole search since its first trial began, so that starting, waiting and how many run at
    once are in it; after an interruption it is too high.

    Args:
        records: all trials.
        total: how many are asked for; None: no limit, so only those that run are counted.
        epochs: of a trial at most.
        now: the time; default: this moment.
    """
    done = sum(record.epochs for record in records)
    began = min((record.started for record in records if record.started is not None), default=None)
    if not done or began is None:
        return None
    valued = [record.epochs for record in records if record.state in (State.COMPLETED, State.STOPPED)]
    usual = mean(valued) if valued else epochs
    running = [record for record in records if record.state == State.RUNNING]
    started = sum(record.state != State.PENDING for record in counted(records))
    left = sum(max(usual - record.epochs, 1) for record in running) + usual * max(0, (total or 0) - started)
    since = (now or datetime.now(began.tzinfo)) - began
    return since / done * left
