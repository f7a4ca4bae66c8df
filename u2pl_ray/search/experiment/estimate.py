"""What a search will take, computed from a measured training: hours, GPU-hours, money."""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

from u2pl_ray.config.methods import METHODS
from u2pl_ray.config.schema import Config
from u2pl_ray.search.cluster.capacity import devices
from u2pl_ray.search.driver.budget import Budget
from u2pl_ray.search.experiment.plan import Plan
from u2pl_ray.search.schedulers.expected import survival
from u2pl_ray.search.trials.warmups import one_warmup
from u2pl_ray.train.measurement import Measurement

_BETWEEN_TRIALS = 3.0
"""Seconds of Ray's between two trainings in a slot, beside the start of the workers' processes."""
_REPORT = 0.25
"""Seconds from an epoch to the next, beside writing the checkpoint: Ray Train asks its workers so often."""
_SEARCH = 12.0
"""Seconds once: Ray, the first trial's process, the end."""
_STREAM = 20
"""Trials over which the mean of an endless search is taken."""


@dataclass(frozen=True)
class Estimate:
    """What a search takes, as expected.

    Attributes:
        training: seconds of one full training, its start included.
        trials: how many settings are tried; None if nothing says it.
        epochs: that a trial trains on average.
        repeats: trainings of replicates and baselines.
        device_hours: GPUs (on CPU: workers) times hours, of everything; None if nothing bounds the search.
        hours: of wall time; None alike.
        ended: the flag that ends it, such as --hours; empty if it comes to its end.
    """

    training: float
    trials: int | None
    epochs: float
    repeats: int
    device_hours: float | None
    hours: float | None
    ended: str = ""


def epoch_seconds(config: Config, measured: Measurement, method: str | None = None) -> list[float]:
    """Compute the seconds of each epoch of a training: its steps, both validations, checkpoint, images, report.

    Args:
        config: of the training.
        measured: of it.
        method: another one with the same settings; it has no warm-up if it uses labeled images alone.
    """
    semi_supervised = METHODS[method or config.method.name].semi_supervised
    # The checkpoint is written by the worker, and copied to the storage.
    rest = measured.validation + 2 * measured.checkpoint + measured.images + _REPORT
    warmup = config.method.warmup_epochs if semi_supervised else config.train.epochs
    steps = [measured.warmup_step] * warmup + [measured.main_step] * (config.train.epochs - warmup)
    return [measured.steps * step + rest for step in steps]


def estimate(plan: Plan, measured: Measurement) -> Estimate:
    """Compute what a planned search takes.

    Trials are stopped as `schedulers.expected` says, the warm-up is trained once where `trials.warmups` shares it, and
    trials go to slots in order. Each trial counts with its expected length. What patience saves is not known.

    Args:
        plan: of the search.
        measured: a training with the settings of its first trial.
    """
    config, options, slots = plan.config, plan.options, max(1, plan.fit.concurrent)
    budget = options.budget
    start = measured.startup + _BETWEEN_TRIALS
    by_epoch = epoch_seconds(config, measured)
    full = start + sum(by_epoch)
    bounded = options.trials is not None or budget.trainings is not None
    baselines = [start + sum(epoch_seconds(config, measured, name)) for name in options.baselines]
    trials, chances = _trials(plan, len(baselines))
    shared = _shared(plan)
    lengths, epochs = [], 0.0
    for number, reached in enumerate(chances[:trials]):
        first = shared if number >= slots else 0
        own = list(zip(reached[first:], by_epoch[first:], strict=True))
        epochs += sum(chance for chance, _ in own)
        lengths.append(start + sum(chance * seconds for chance, seconds in own))
    mean = sum(map(sum, chances[:trials])) / trials
    share = _replicates(budget, len(baselines) + epochs / config.train.epochs)
    repeated = [full] * math.floor(share + 1e-9)
    part = 0.0 if bounded else share - len(repeated)  # over a long search, parts of them add up
    hours = (_SEARCH + makespan([*baselines, *lengths], slots) + makespan(repeated, slots)) / 3600
    device_hours = sum([*baselines, *lengths, *repeated, part * full]) / 3600 * devices(config, plan.fit.gpu)
    repeats = len(baselines) + len(repeated)
    found = Estimate(full, trials, mean, repeats, device_hours, hours)
    return _limited(found, budget, bounded, slots * devices(config, plan.fit.gpu), share)


def _trials(plan: Plan, baselines: int) -> tuple[int, list[list[float]]]:
    """Return how many trials there will be, at least 1, and for each the probability that it trains each epoch."""
    options, epochs = plan.options, plan.config.train.epochs
    budget = options.budget
    most = options.trials if options.trials is not None else _STREAM
    if budget.trainings is None:
        return most, survival(options.scheduler, epochs, most)
    worth = ((1 - budget.replicating) * budget.trainings - baselines) * epochs
    if options.trials is None:
        most = max(1, math.ceil(budget.trainings * epochs))  # a trial trains at least one epoch
    chances = survival(options.scheduler, epochs, most)
    shared, slots = _shared(plan), max(1, plan.fit.concurrent)
    number = 0
    while number < most and (number == 0 or worth > 0):
        worth -= sum(chances[number][shared if number >= slots else 0 :])
        number += 1
    return number, chances


def _shared(plan: Plan) -> int:
    """Return the epochs that only the first trials train, those that start before there is a warm-up to go on from."""
    options, method = plan.options, plan.config.method
    alone = "://" in plan.place.storage or options.scheduler.name == "pbt"
    return 0 if alone or not one_warmup(plan.config, plan.space.parameters) else method.warmup_epochs


def _replicates(budget: Budget, explored: float) -> float:
    """Return how many replicates there will be, after `explored` trainings' worth of trials and baselines."""
    whole = explored / (1 - budget.replicating) if budget.trainings is None else budget.trainings
    return budget.replicating * whole


def _limited(found: Estimate, budget: Budget, bounded: bool, at_once: float, replicates: float) -> Estimate:
    """Apply the limits in hours and device-hours.

    Args:
        found: without them.
        budget: the limits.
        bounded: whether the search ends without them.
        at_once: devices in use.
        replicates: how many there are without them; with them fewer or more, as there are of the trials.
    """
    assert found.hours is not None
    assert found.device_hours is not None
    assert found.trials is not None
    hours, device_hours = (found.hours, found.device_hours) if bounded else (math.inf, math.inf)
    usual = found.device_hours / found.trials  # of a trial, with its share of the replicates
    ended, baselines = "", found.repeats - math.floor(replicates + 1e-9)
    if budget.hours is not None and budget.hours < hours:
        hours, device_hours, ended = budget.hours, min(device_hours, budget.hours * at_once), "--hours"
    if budget.device_hours is not None and budget.device_hours < device_hours:
        hours = min(hours, _SEARCH / 3600 + budget.device_hours / at_once)
        device_hours, ended = budget.device_hours, "--gpu-hours"
    if math.isinf(hours):
        return Estimate(found.training, None, found.epochs, baselines, None, None)
    trials = max(1, round(device_hours / usual)) if ended else found.trials
    trials = min(trials, found.trials) if bounded else trials
    repeats = baselines + math.floor(replicates * trials / found.trials + 1e-9)
    return Estimate(found.training, trials, found.epochs, repeats, device_hours, hours, ended)


def makespan(lengths: Sequence[float], slots: int) -> float:
    """Return when the last of some jobs ends, each started in order as soon as one of the slots is free.

    Args:
        lengths: of the jobs.
        slots: at least 1.
    """
    free = [0.0] * slots
    for length in lengths:
        heapq.heappush(free, heapq.heappop(free) + length)
    return max(free)
