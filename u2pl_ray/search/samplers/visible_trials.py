"""Select the trials of a study that a sampler sees: those inside the current ranges, and failures to avoid."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from u2pl_ray.search.samplers.registry import SAMPLERS

INFEASIBLE = ("memory", "refused", "invalid")
"""Reasons for which settings must not be tried again."""

_BLAMED = (*INFEASIBLE, "nan")


def shown(
    trials: Sequence[FrozenTrial],
    distributions: Mapping[str, BaseDistribution],
    sampler: str,
    directions: Sequence[StudyDirection],
) -> list[FrozenTrial]:
    """Convert a study's trials to the form in which the sampler should see them.

    A sampler ignores failed trials and would propose similar settings again. So a trial that failed because of its
    settings (infeasible, NaN) is shown as one that violates a constraint, or, to a sampler without constraints, as one
    with the worst value so far. A trial that was drawn from other ranges is shown as drawn from the current ranges,
    and left out if it lies outside them: samplers only use trials that share their ranges.

    Args:
        trials: of the study; queued ones are left out.
        distributions: current ranges by parameter.
        sampler: its name.
        directions: of the study's objectives.
    """
    seen = [moved for trial in trials if (moved := _in_range(trial, distributions)) is not None]
    completed = [trial.values for trial in seen if trial.state == TrialState.COMPLETE and trial.values]
    useful = sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in seen)
    to_blame = [trial for trial in seen if trial.user_attrs.get("reason") in _BLAMED]
    # TPE takes the best tenth of the trials as good: there must be enough others to fill it.
    warned = {trial.number for trial in to_blame[max(0, len(to_blame) - 9 * useful) :]}
    result = []
    for trial in seen:
        if trial.number in warned and trial.user_attrs.get("reason") in _BLAMED:
            if SAMPLERS[sampler].by_constraint:
                trial = _changed(trial, state=TrialState.PRUNED, values=None, constraints={"feasible": 1.0})
            elif completed:
                trial = _changed(trial, state=TrialState.COMPLETE, values=_worst(completed, directions))
        elif trial.state == TrialState.PRUNED and len(directions) > 1:
            # TPE cannot rank stopped trials by several objectives: it takes those without values for the worst.
            trial = _changed(trial, intermediate_values={}, values=None)
        result.append(trial)
    return result


def _in_range(trial: FrozenTrial, distributions: Mapping[str, BaseDistribution]) -> FrozenTrial | None:
    """Return the trial as drawn from `distributions`; None if it is queued or lies outside them."""
    if trial.state == TrialState.WAITING:
        return None
    if all(trial.distributions[path] == distributions.get(path) for path in trial.params):
        return trial
    if not all(fits(distributions, path, value) for path, value in trial.params.items()):
        return None
    moved = copy.copy(trial)
    moved.distributions = {path: distributions[path] for path in trial.params}
    return moved


def fits(distributions: Mapping[str, BaseDistribution], path: str, value: Any) -> bool:
    """Tell whether a value lies in the current range of its parameter.

    Args:
        distributions: current ranges by dotted path.
        path: the parameter; False if it has no range now.
        value: as the study stores it.
    """
    distribution = distributions.get(path)
    try:
        return distribution is not None and distribution._contains(distribution.to_internal_repr(value))
    except ValueError:
        return False


def _worst(completed: Sequence[Sequence[float]], directions: Sequence[StudyDirection]) -> list[float]:
    columns = zip(*completed, strict=True)
    return [
        min(column) if direction == StudyDirection.MAXIMIZE else max(column)
        for column, direction in zip(columns, directions, strict=True)
    ]


def _changed(trial: FrozenTrial, **changes: Any) -> FrozenTrial:
    kept: dict[str, Any] = {
        "state": trial.state,
        "params": trial.params,
        "distributions": trial.distributions,
        "user_attrs": trial.user_attrs,
        "system_attrs": dict(trial.system_attrs),  # else a constraint would be written into the study's own trial
    }
    changed = optuna.trial.create_trial(**{**kept, **changes})
    changed.number = trial.number
    return changed
