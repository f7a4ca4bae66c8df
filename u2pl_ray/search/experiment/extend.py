"""Extend a search: more trials, a larger budget or other ranges, on the same study."""

import json
import shlex
from dataclasses import asdict, replace

from optuna.distributions import CategoricalDistribution

from u2pl_ray.config.errors import UserError
from u2pl_ray.search.driver.budget import Budget, results, used_by
from u2pl_ray.search.experiment import snapshot
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.replicates import with_replicates
from u2pl_ray.search.samplers.visible_trials import fits
from u2pl_ray.search.space.file import with_metric
from u2pl_ray.search.space.finite import all_settings
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.storage import layout
from u2pl_ray.search.study.remaining import counted
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.study.trial_record import PAPER, State
from u2pl_ray.system.atomic import write_whole


def extend(
    experiment: Experiment,
    trials: int = 0,
    *,
    trainings: float = 0.0,
    hours: float = 0.0,
    device_hours: float = 0.0,
    patience: int | None = None,
    space: Space | None = None,
) -> tuple[Experiment, list[str]]:
    """Extend an experiment; `Experiment.run` then runs the added trials.

    Args:
        experiment: the search.
        trials: number of trials to add.
        trainings: full trainings' worth to add to the present budget, or to the use so far if there was none; 30 % of
            what is added goes to replicates, like that of the start.
        hours: wall hours to add to the present limit, or to the use so far if there was no limit.
        device_hours: the same for GPU-hours (on CPU: worker-hours).
        patience: the new limit; any extension restarts its count.
        space: other ranges for the same settings; without `metric` it has the search's.

    Returns:
        The extended experiment, and sentences for the user about the changes.

    Raises:
        UserError: no extension is given, or the space has other settings.
    """
    check_extension(trials, hours, device_hours, patience, space, trainings)
    check_search(experiment)
    space = None if space is None else with_metric(space, experiment.space.objectives)
    study, options = experiment.study(), experiment.options
    records = study.records()
    budget, said = options.budget, list[str]()
    so_far = used_by(study)
    if trials or trainings or hours or device_hours or patience is not None:
        budget, said = _reopened(budget, so_far, (hours, device_hours))
    budget = replace(
        budget,
        hours=_more(budget.hours, so_far[0], hours),
        device_hours=_more(budget.device_hours, so_far[1], device_hours),
        patience=budget.patience if patience is None else patience,
        patience_from=len(results(records)),
    )
    if trainings:
        everything = study.all_records()
        on_top = min(budget.confirming, experiment.allowance.replicated(everything))
        used = experiment.allowance.spent(everything) - on_top
        further = replace(budget, trainings=_more(budget.trainings, used, trainings), looks=budget.looks + 1)
        paper = any(record.note == PAPER for record in records)
        budget, more = with_replicates(further, paper, experiment.space)
        said += more
    total = options.trials
    if trials:
        total = trials + (len(counted(records)) if total is None else total)
    elif space is not None and budget.trainings is not None and all_settings(experiment.space):
        total = None  # it was as many as the former space has settings
    if not trainings and (budget.replicating or budget.confirming) and _explores_again(experiment, budget, total):
        budget = replace(budget, looks=budget.looks + 1)
    budget.check()
    notes = [] if space is None else _rerange(experiment, study, space)
    extended = replace(experiment, options=replace(options, trials=total, budget=budget))
    if space is not None:
        kept = experiment.folder / f"space-{len(list(experiment.folder.glob('space-*.yaml'))) + 1}.yaml"
        write_whole(kept, experiment.space.text)  # the previous ranges
        snapshot.write(experiment.folder, layout.SPACE, space.text)
        extended = replace(extended, space=space)
    tree = json.loads((experiment.folder / layout.EXPERIMENT).read_text("utf-8"))
    tree["options"] |= {"trials": total, "budget": asdict(budget)}
    snapshot.write(experiment.folder, layout.EXPERIMENT, json.dumps(tree, indent=2))
    experiment.place.commit()
    return extended, notes + said


def check_search(experiment: Experiment) -> None:
    """Refuse to add trials to a single training, which has no settings to search.

    Args:
        experiment: to be extended.

    Raises:
        UserError: it is one training.
    """
    if experiment.single:
        best = shlex.quote(experiment.place.below(layout.BEST))
        epochs = experiment.config.train.epochs
        raise UserError(
            f"{experiment.name}: is one training, and only a search can be extended; train longer: u2pl-ray train "
            f"{best} train.epochs={2 * epochs}; search its settings: u2pl-ray search {best} --space paper"
        )


def check_extension(
    trials: int,
    hours: float,
    device_hours: float,
    patience: int | None,
    space: Space | None,
    trainings: float = 0.0,
) -> None:
    """Refuse an extension by nothing, or by less than nothing.

    Args:
        trials: see `extend`, as the others.
        hours: to add.
        device_hours: to add.
        patience: the new limit.
        space: other ranges.
        trainings: to add.

    Raises:
        UserError: naming the option.
    """
    more_of = {"--trials": trials, "--trainings": trainings, "--hours": hours, "--gpu-hours": device_hours}
    for flag, more in more_of.items():
        if more < 0:
            raise UserError(f"{flag} {more:+g}: give a number above 0")
    if not (any(more_of.values()) or patience is not None or space is not None):
        raise UserError(
            "extend: give --trials +N, --trainings +N, --hours +H, --gpu-hours +H, --patience K or --space FILE"
        )


def _reopened(budget: Budget, so_far: tuple[float, float], more: tuple[float, float]) -> tuple[Budget, list[str]]:
    """Return a budget that `confirm` closed with its limits in force again, and sentences about those that are dropped.

    A limit of hours that is used, and not added to, would end at once what is added instead: it is dropped.

    Args:
        budget: the search's; one that is not closed stays as it is.
        so_far: hours and device-hours used.
        more: of both, added.
    """
    if budget.closed is None:
        return budget, []
    said = []

    def kept(limit: float | None, use: float, added: float, unit: str) -> float | None:
        if limit is None or use < limit or added:
            return limit
        said.append(f"the limit of {limit:g} {unit} no longer applies: {use:.3g} are used")
        return None

    hours = kept(budget.hours, so_far[0], more[0], "hours")
    device_hours = kept(budget.device_hours, so_far[1], more[1], "device-hours")
    return replace(budget, hours=hours, device_hours=device_hours, closed=None), said


def _explores_again(experiment: Experiment, budget: Budget, trials: int | None) -> bool:
    """Tell whether the limits differ, so that what was decided under the old ones ends: another look will follow.

    Args:
        experiment: the search before.
        budget: its budget after.
        trials: the requested number after.
    """
    return budget.allowance(experiment.config.train.epochs, trials).limits != experiment.allowance.limits


def _more(limit: float | None, so_far: float, more: float) -> float | None:
    return max(limit or 0.0, so_far) + more if more else limit


def _rerange(experiment: Experiment, study: TrialStudy, space: Space) -> list[str]:
    """Check that the study can continue with other ranges; describe the changes and the trials outside them.

    Args:
        experiment: the search.
        study: its study.
        space: the new ranges.

    Raises:
        UserError: the space differs in more than its bounds, or excludes a queued trial.
    """
    before = experiment.space
    for path in {**before.parameters, **space.parameters}:
        if path not in before.parameters or path not in space.parameters:
            where = "is new" if path not in before.parameters else "is missing"
            raise UserError(
                f"{space.source}: {path} {where}: extend changes ranges; for other settings, start a search"
            )
        old, new = before.parameters[path].distribution, space.parameters[path].distribution
        if (
            isinstance(old, CategoricalDistribution)
            and before.parameters[path].choices != space.parameters[path].choices
        ):
            raise UserError(f"{space.source}: {path}: the choices of a study cannot change; start a search for others")
        if type(old) is not type(new) or getattr(old, "log", None) != getattr(new, "log", None):
            raise UserError(f"{space.source}: {path}: the bounds may change, the kind of range may not")
    if before.constants != space.constants or before.objectives != space.objectives:
        raise UserError(f"{space.source}: constants and metric must stay as they are; start a search for others")
    space.check(experiment.config)
    outside = {
        trial.number: [path for path, value in trial.params.items() if not fits(space.distributions, path, value)]
        for trial in study.study.get_trials(deepcopy=False)
    }
    for record in study.records():
        if record.state == State.PENDING:
            for path, value in record.params.items():
                if not space.parameters[path].holds(value):
                    raise UserError(
                        f"{space.source}: trial {record.id} is queued with {path}={value}, outside "
                        f"{space.parameters[path].extent()}: let it start first (u2pl-ray resume {experiment.argument})"
                    )
    count = sum(bool(paths) for paths in outside.values())
    changed = [
        f"{path}: {before.parameters[path].extent()} becomes {parameter.extent()}"
        for path, parameter in space.parameters.items()
        if parameter.extent() != before.parameters[path].extent()
    ]
    left_out = [f"{count} of {len(outside)} trials lie outside; the sampler does not see them"] if count else []
    return [*changed, *left_out]
