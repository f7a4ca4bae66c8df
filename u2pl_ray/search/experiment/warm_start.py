"""Collect the trials of earlier experiments that a new one can learn from (`--warm-start`)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from u2pl_ray.config import overrides
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.experiment.alike import trainings_like
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.space.space import Metric, Space
from u2pl_ray.search.study.borrowed import BorrowedTraining
from u2pl_ray.search.study.prior_trials import Earlier
from u2pl_ray.search.study.trial_record import State, TrialRecord

_BESIDE = ("seed", "workers", "resources", "tracking")
"""Settings that may differ between comparable trials."""


def gather(names: Sequence[str], space: Space, base: Config, storage_path: str | Path | None = None) -> Earlier:
    """Collect the finished trials of earlier experiments that `space` could have proposed.

    A setting that is searched now, but was not then, counts with its fixed value of then. A trial is left out if a
    value lies outside the present range, or if a setting that is not searched now had another value.

    Args:
        names: names, folders or URIs of the experiments.
        space: of the new experiment.
        base: configuration the new trials start from.
        storage_path: where names are looked up.

    Raises:
        UserError: there is no such experiment, or it has another objective.
    """
    trials: list[Mapping[str, Any]] = []
    notes: list[str] = []
    like: list[BorrowedTraining] = []
    for name in names:
        experiment = Experiment.open(name, storage_path)
        if experiment.space.objectives != space.objectives:
            then, now = (_words(some) for some in (experiment.space.objectives, space.objectives))
            raise UserError(f"--warm-start {name}: compares its trials by {then}, this search by {now}")
        told, left_out = _sort(experiment, space, base)
        trials += told
        records = experiment.study().all_records()
        like += trainings_like(records, (experiment.space, experiment.config), (space, base))
        count = len(told) + sum(left_out.values())
        why = ", ".join(f"{number} {reason}" for reason, number in left_out.items())
        notes.append(
            f"{name}: {len(told)} of {count} finished trials given to the sampler"
            + (f"; left out: {why}" if why else "")
        )
        if told and (others := _differences(experiment, space, base)):
            notes.append(f"{name}: its results may not compare: it has {', '.join(others)}")
    return Earlier(trials, notes, like)


def _sort(experiment: Experiment, space: Space, base: Config) -> tuple[list[Mapping[str, Any]], Counter[str]]:
    told: list[Mapping[str, Any]] = []
    left_out: Counter[str] = Counter()
    only_theirs = [path for path in experiment.space.parameters if path not in space.parameters]
    today = overrides.apply(base, space.constants)
    for record in experiment.study().records():
        if not record.state.finished:
            continue
        if record.state == State.FAILED and record.reason != "nan":
            left_out["that failed"] += 1  # for reasons other than their settings
            continue
        try:
            config = experiment.space.configure(experiment.config, record.params)
        except UserError:
            left_out["not valid"] += 1
            continue
        params = {path: _plain(overrides.get(config, path)) for path in space.parameters}
        if any(path != "seed" and overrides.get(config, path) != overrides.get(today, path) for path in only_theirs):
            left_out["with other settings than this search's"] += 1
        elif not all(space.parameters[path].holds(value) for path, value in params.items()):
            left_out["outside the ranges"] += 1
        else:
            told.append(_row(experiment.name, record, params))
    return told, left_out


def _row(experiment: str, record: TrialRecord, params: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "experiment": experiment,
        "trial": record.id,
        "state": record.state.value,
        "reason": record.reason,
        "params": params,
        "values": record.values,
        "objectives": record.objectives,
    }


def _differences(experiment: Experiment, space: Space, base: Config) -> list[str]:
    """List at most three settings that differ and that neither search varies, such as `train.epochs=40`.

    Args:
        experiment: the earlier one.
        space: of the new one.
        base: configuration of the new one.
    """
    then, now = overrides.apply(experiment.config, experiment.space.constants), overrides.apply(base, space.constants)
    varied = {*space.parameters, *experiment.space.parameters}
    found = [
        f"{path}={_plain(overrides.get(then, path))}"
        for path in overrides.paths()
        if path not in varied
        and path.split(".")[0] not in _BESIDE
        and overrides.get(then, path) != overrides.get(now, path)
    ]
    return [*found[:3], *(["..."] if len(found) > 3 else [])]


def _words(objectives: Sequence[Metric]) -> str:
    return ", ".join(metric.name for metric in objectives)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
