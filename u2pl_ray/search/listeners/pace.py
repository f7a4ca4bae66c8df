"""How long a search will still take, at the pace so far."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from statistics import mean

from u2pl_ray.search.study.allowance import Allowance
from u2pl_ray.search.study.remaining import counted
from u2pl_ray.search.study.trial_record import State, TrialRecord


def time_left(
    records: Sequence[TrialRecord],
    total: int | None,
    epochs: int,
    now: datetime | None = None,
    allowance: Allowance | None = None,
) -> timedelta | None:
    """Return how long the trials that are left will take at the pace so far; None if no epoch has been reported.

    The epochs that are left: what running trials may still do, and for each further trial the mean of those that
    ended. At the pace of the whole search since its first trial began, so that starting, waiting and how many run at
    once are in it; after an interruption it is too high.

    Args:
        records: all trials and their companions.
        total: how many are asked for; None: no limit, so only those that run are counted.
        epochs: of a trial at most.
        now: the time; default: this moment.
        allowance: what may be spent in trainings; where `expected_end` knows the whole, the rest of it is what is left.
    """
    if allowance is not None and (end := expected_end(records, total, allowance)) is not None:
        return _until(end - allowance.spent(records), allowance.spent(records), records, now)
    records = [record for record in records if record.companion is None]
    done = sum(record.epochs for record in records)
    valued = [record.epochs for record in records if record.state in (State.COMPLETED, State.STOPPED)]
    usual = mean(valued) if valued else epochs
    running = [record for record in records if record.state == State.RUNNING]
    started = sum(record.state != State.PENDING for record in counted(records))
    left = sum(max(usual - record.epochs, 1) for record in running) + usual * max(0, (total or 0) - started)
    return _until(left, done, records, now)


def expected_end(records: Sequence[TrialRecord], total: int | None, allowance: Allowance) -> float | None:
    """Return the trainings' worth after which a search is expected to end; None where trainings do not say it.

    That is the allowance's limit. Without one, a number of trials says how much will be explored, and so how many
    replicates follow; trials that have not started count with the mean of those that ended.

    Args:
        records: all trials and their companions.
        total: how many trials are asked for; None: no limit.
        allowance: what may be spent in trainings.
    """
    if allowance.limit is not None or total is None or not allowance.limited:
        return allowance.limit
    trials = counted(records)
    ended = [record.epochs - record.inherited for record in trials if record.state in (State.COMPLETED, State.STOPPED)]
    usual = mean(ended) / allowance.epochs if ended else 1.0
    explored = allowance.explored(records) + usual * max(0, total - len(trials))
    return explored + allowance.replicates_of(explored)


def _until(left: float, done: float, records: Sequence[TrialRecord], now: datetime | None) -> timedelta | None:
    """Return how long `left` takes if `done` took the time since the first trial began; None before there is a pace."""
    began = min((record.started for record in records if record.started is not None), default=None)
    if not done or began is None:
        return None
    return ((now or datetime.now(began.tzinfo)) - began) / done * max(left, 0)
