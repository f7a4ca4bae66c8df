"""Trials compared by several objectives."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from u2pl_ray.config import metrics as names
from u2pl_ray.config.errors import nearest
from u2pl_ray.search.space.space import Metric
from u2pl_ray.search.study.trial_record import TrialRecord


class FirstObjective:
    """A study of several objectives as schedulers see it: Optuna's look at one."""

    def __init__(self, study: optuna.Study) -> None:
        self.direction, self.directions, self.get_trials = study.directions[0], study.directions[:1], study.get_trials


def measured(metrics: Mapping[str, Any], objectives: Sequence[Metric]) -> tuple[list[float], tuple[str, str] | None]:
    """An epoch's objectives, or else why the trial fails: reason and detail."""
    values = []
    for objective in objectives:
        value = metrics.get(objective.name)
        if objective.name not in metrics:
            return [], ("error", f"{objective.name} is not among the metrics{nearest(objective.name, metrics)}")
        if not isinstance(value, int | float) or not math.isfinite(value):
            return [], ("nan", f"{objective.name} is not a number after epoch {metrics[names.EPOCH]}")
        values.append(float(value))
    return values, None


def front(records: Sequence[TrialRecord], objectives: Sequence[Metric]) -> list[TrialRecord]:
    """The completed trials that no other is at least as good as in every objective, best first objective first."""
    gains = {record.number: _gains(record, objectives) for record in records if record.objectives}
    undominated = [
        record
        for record in records
        if record.number in gains and not any(_dominates(other, gains[record.number]) for other in gains.values())
    ]
    return sorted(undominated, key=lambda record: gains[record.number], reverse=True)


def better(one: TrialRecord, other: TrialRecord, objectives: Sequence[Metric]) -> bool:
    """Whether a completed trial gains something over another in any objective."""
    gains, against = _gains(one, objectives), _gains(other, objectives)
    return gains != against and not _dominates(against, gains)


def _gains(record: TrialRecord, objectives: Sequence[Metric]) -> list[float]:
    """A completed trial's objectives, all so that larger is better."""
    pairs = zip(record.objectives, objectives, strict=True)
    return [value if metric.maximize else -value for value, metric in pairs]


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(mine >= theirs for mine, theirs in zip(one, other, strict=True))
