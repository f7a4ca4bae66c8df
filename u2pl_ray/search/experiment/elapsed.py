"""How long trainings beside a search will take, by what the search's own took: nothing is measured for it."""

from collections.abc import Mapping
from datetime import timedelta
from statistics import median

from u2pl_ray.search.experiment.estimate import makespan
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.plan import Plan
from u2pl_ray.search.listeners.formatting import duration, many
from u2pl_ray.search.study.trial_record import State

_METHOD, _EPOCHS = "method.name", "train.epochs"


def seconds_an_epoch(search: Experiment) -> dict[str, float]:
    """Return the median seconds of an epoch, by method, over the complete trainings of a search, their starts included.

    Args:
        search: with trials that trained to the end; others are left out, as they may have been interrupted.
    """
    took: dict[str, list[float]] = {}
    for record in search.study().all_records():
        own = record.epochs - record.inherited
        if record.state == State.COMPLETED and own > 0 and record.started and record.finished:
            method = record.settings.get(_METHOD, search.config.method.name)
            took.setdefault(method, []).append((record.finished - record.started).total_seconds() / own)
    return {method: median(seconds) for method, seconds in took.items()}


def time_lines(search: Experiment, plan: Plan) -> list[str]:
    """Say how long the queued trainings of a plan take at the pace of a search; nothing if none of its is complete.

    Args:
        search: trained the same configuration on the same cluster.
        plan: with a queue, such as that of `confirm` or `worth`.
    """
    pace = seconds_an_epoch(search)
    if not pace or not plan.queue:
        return []
    jobs = [_job(plan, settings) for settings, _ in plan.queue]
    slowest = max(pace.values())
    slots = max(1, plan.fit.concurrent)
    seconds = makespan([epochs * pace.get(method, slowest) for method, epochs in jobs], slots)
    told = f"about {duration(timedelta(seconds=seconds))}: {many(len(jobs), 'training')}, {slots} at once"
    unseen = sorted({method for method, _ in jobs} - pace.keys())
    caveat = f"; {', '.join(unseen)} counted like the slowest method there" if unseen else ""
    return [f"time         {told}, at the pace of {search.name}{caveat}"]


def _job(plan: Plan, settings: Mapping[str, object]) -> tuple[str, int]:
    """Return method and epochs of a queued training."""
    epochs = settings.get(_EPOCHS, plan.config.train.epochs)
    assert isinstance(epochs, int)
    return str(settings.get(_METHOD, plan.config.method.name)), epochs
