"""Plan an experiment of given settings, each on the same seeds: what is compared is decided before it starts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from u2pl_ray.config.schema import Config
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.plan import Plan, plan_search
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.storage.place import Place


def plan_fixed(
    experiment: Experiment,
    settings: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int],
    *,
    name: str,
    purpose: str,
    max_concurrent: int | None = None,
    examine: Callable[[Config], None] = lambda config: None,
    reserve: Callable[[Place], None] = lambda place: None,
) -> Plan:
    """Check trainings of every setting with every seed, beside a search and with its configuration; write nothing.

    Args:
        experiment: the search.
        settings: by the note of their trials, each by dotted path; all have the same paths.
        seeds: of the trainings; all settings of one seed come before the next seed.
        name: of the new experiment.
        purpose: of it, in a word, such as "confirmation".
        max_concurrent: upper limit of trials at once; default: the search's.
        examine: see `plan_search`.
        reserve: see `plan_search`.

    Raises:
        UserError: see `plan_search`.
    """
    queue = [({**params, "seed": seed}, note) for seed in seeds for note, params in settings.items()]
    options = experiment.options
    return plan_search(
        experiment.config,
        parse_space(_space(experiment, settings, seeds), f"{purpose} of {experiment.name}"),
        name=name,
        trials=len(queue),
        storage_path=experiment.place.storage,
        sampler="random",
        scheduler="none",
        queue=queue,
        max_concurrent=options.max_concurrent if max_concurrent is None else max_concurrent,
        autoscale=options.autoscale,
        trainer=options.trainer,
        examine=examine,
        reserve=reserve,
    )


def _space(experiment: Experiment, settings: Mapping[str, Mapping[str, Any]], seeds: Sequence[int]) -> str:
    """Return the text of a space file with these settings and seeds only.

    Args:
        experiment: the search, for its objectives.
        settings: by label, each by dotted path; all have the same paths.
        seeds: of the trainings.
    """
    parameters: dict[str, Any] = {path: {"value": value} for path, value in experiment.space.constants.items()}
    for path in dict.fromkeys(path for params in settings.values() for path in params):
        values: list[Any] = []
        for params in settings.values():
            if params[path] not in values:
                values.append(params[path])
        parameters[path] = {"values": values}
    parameters["seed"] = {"values": list(seeds)}
    metric = experiment.space.metric
    tree = {"method": "random", "metric": {"name": metric.name, "goal": metric.goal}, "parameters": parameters}
    return yaml.safe_dump(tree, sort_keys=False)
