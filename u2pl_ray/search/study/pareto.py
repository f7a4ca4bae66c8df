"""Compare trials by several objectives."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from u2pl_ray.config import metrics as names
from u2pl_ray.config.errors import nearest
from u2pl_ray.search.space.space import Metric
from u2pl_ray.search.study.trial_record import TrialRecord


def measured(metrics: Mapping[str, Any], objectives: Sequence[Metric]) -> tuple[list[float], tuple[str, str] | None]:
    """Read the objectives from an epoch's metrics.

    Args:
        metrics: reported by the training.
        objectives: the first one decides about stopping.

    Returns:
        The values and None; or an empty list, and reason and detail with which the trial fails.
    """
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
    """Return the Pareto front of the completed trials, sorted by the first objective, best first.

    Args:
        records: all trials.
        objectives: of the study.
    """
    gains = {record.number: _gains(record, objectives) for record in records if record.objectives}
    undominated = [
        record
        for record in records
        if record.number in gains and not any(_dominates(other, gains[record.number]) for other in gains.values())
    ]
    return sorted(undominated, key=lambda record: gains[record.number], reverse=True)


def better(one: TrialRecord, other: TrialRecord, objectives: Sequence[Metric]) -> bool:
    """Tell whether a completed trial is better than another in at least one objective.

    Args:
        one: the trial.
        other: the trial it is compared with.
        objectives: of the study.
    """
    gains, against = _gains(one, objectives), _gains(other, objectives)
    return gains != against and not _dominates(against, gains)


def _gains(record: TrialRecord, objectives: Sequence[Metric]) -> list[float]:
    """Return a completed trial's objectives, with signs such that larger is better."""
    pairs = zip(record.objectives, objectives, strict=True)
    return [value if metric.maximize else -value for value, metric in pairs]


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(mine >= theirs for mine, theirs in zip(one, other, strict=True))
