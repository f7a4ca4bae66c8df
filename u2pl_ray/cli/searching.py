"""Verbs that run a search: start it, continue it, add to it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from u2pl_ray.cli.arguments import (
    AsJson,
    ConfigName,
    DumpConfig,
    Force,
    MaxConcurrent,
    Name,
    NewName,
    Overrides,
    Patience,
    Storage,
)
from u2pl_ray.cli.common import check_data, default_name, load_config, parse_options, print_config, run_experiment
from u2pl_ray.config.errors import UserError

if TYPE_CHECKING:
    from u2pl_ray.search.space.space import Metric


def search(
    config: ConfigName,
    overrides: Overrides = None,
    space: Annotated[
        Path | None, typer.Option("--space", help="What to search: a YAML file, see search_spaces/.")
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option("--objective", help="A further one, such as perf/step_seconds=minimize (repeatable)."),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option("--trials", help="How many trials. Default: 20, or no limit if another of these is given:"),
    ] = None,
    hours: Annotated[float | None, typer.Option("--hours", help="End after so many hours of searching.")] = None,
    gpu_hours: Annotated[
        float | None,
        typer.Option("--gpu-hours", help="End after so many: GPUs (on CPU: workers) times the time of trials."),
    ] = None,
    patience: Patience = None,
    name: NewName = None,
    storage_path: Storage = None,
    sampler: Annotated[
        str | None,
        typer.Option("--sampler", help="tpe, random, qmc, gp, cmaes, nsga2. Default: the space's method, else tpe."),
    ] = None,
    sampler_option: Annotated[
        list[str] | None, typer.Option("--sampler-option", help="Of Optuna's sampler, e.g. n_startup_trials=5.")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            "--scheduler",
            help="none, asha, hyperband, median, pbt. Default: the space's early_terminate, else asha.",
        ),
    ] = None,
    scheduler_option: Annotated[
        list[str] | None,
        typer.Option("--scheduler-option", help="grace=N epochs, factor=N, interval=N, quantile=Q, ..."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the proposals.")] = 0,
    warm_start: Annotated[
        list[str] | None,
        typer.Option("--warm-start", help="An earlier experiment whose trials the sampler learns from (repeatable)."),
    ] = None,
    study_url: Annotated[
        str,
        typer.Option("--study-url", help="Keep the study in a database, e.g. postgresql://host/db; `resume` joins it."),
    ] = "",
    max_concurrent: MaxConcurrent = None,
    autoscale: Annotated[
        bool,
        typer.Option("--autoscale", help="The cluster adds nodes on demand: ask it for room for --max-concurrent."),
    ] = False,
    keep_trials: Annotated[
        int | None,
        typer.Option(
            "--keep-trials", help="How many finished trials keep their checkpoints, the best ones. Default: 5."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    dump_config: DumpConfig = False,
) -> None:
    """Search for the best settings. The paper's own setting is always the first trial."""
    settings = load_config(config, overrides)
    from u2pl_ray.search.driver.budget import Budget
    from u2pl_ray.search.experiment.plan import plan_search
    from u2pl_ray.search.space.file import load_space, with_objectives

    if dump_config:
        print_config(settings)
        return
    if space is None:
        raise UserError("--space: name a search space, for example --space search_spaces/paper.yaml")
    budget = Budget(hours, gpu_hours, patience)
    budget.check()
    options = parse_options("--sampler-option", sampler_option), parse_options("--scheduler-option", scheduler_option)
    if trials is None and not budget.limited:
        trials = 20
    searched = with_objectives(load_space(space), [_objective(text) for text in objective or []])
    check_data(settings)
    plan = plan_search(
        settings,
        searched,
        name=name or default_name(config, space.stem),
        trials=trials,
        budget=budget,
        storage_path=storage_path,
        sampler=sampler,
        sampler_options=options[0],
        scheduler=scheduler,
        scheduler_options=options[1],
        seed=seed,
        warm_start=warm_start or [],
        study_url=study_url,
        max_concurrent=max_concurrent,
        keep=keep_trials,
        autoscale=autoscale,
    )
    for line in plan.lines():
        print(line)
    if not dry_run:
        run_experiment(plan.create())


def resume(
    name: Name,
    storage_path: Storage = None,
    retry_errored: Annotated[
        bool,
        typer.Option("--retry-errored", help="Run trials that broke once more, from their last checkpoints."),
    ] = False,
    force: Force = False,
) -> None:
    """Continue a search or training that was interrupted, wherever it stands."""
    from u2pl_ray.search.experiment.experiment import Experiment

    run_experiment(Experiment.open(name, storage_path), force=force, retry_errored=retry_errored)


def extend(
    name: Name,
    trials: Annotated[str | None, typer.Option("--trials", help="How many more, such as +10.")] = None,
    hours: Annotated[str | None, typer.Option("--hours", help="How many more hours, such as +2.")] = None,
    gpu_hours: Annotated[str | None, typer.Option("--gpu-hours", help="How many more GPU-hours, such as +8.")] = None,
    patience: Patience = None,
    space: Annotated[
        Path | None, typer.Option("--space", help="The same settings with other bounds; choices must stay.")
    ] = None,
    storage_path: Storage = None,
    force: Force = False,
) -> None:
    """Add trials or hours to a search, or change its ranges, on the same study; then run it."""
    from u2pl_ray.search.experiment import extend as extension
    from u2pl_ray.search.experiment.experiment import Experiment
    from u2pl_ray.search.space.file import load_space

    more_trials, more_hours = int(_more("--trials", trials, whole=True)), _more("--hours", hours)
    more_gpu_hours = _more("--gpu-hours", gpu_hours)
    experiment, notes = extension.extend(
        Experiment.open(name, storage_path),
        more_trials,
        hours=more_hours,
        device_hours=more_gpu_hours,
        patience=patience,
        space=None if space is None else load_space(space),
    )
    for note in notes:
        print(note)
    run_experiment(experiment, force=force)


def confirm(
    name: Name,
    top: Annotated[int, typer.Option("--top", help="How many of the best trials.")] = 3,
    seeds: Annotated[int, typer.Option("--seeds", help="Trainings of each setting.")] = 3,
    max_concurrent: MaxConcurrent = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    storage_path: Storage = None,
    json_: AsJson = False,
) -> None:
    """Train the best settings and the paper's again, on new seeds: do they differ by more than the noise?

    An experiment of its own, NAME-confirm: resume it, look at it and sync it like any other.
    """
    from u2pl_ray.analysis.confirmation import confirmation
    from u2pl_ray.search.experiment.confirm import confirmation_name, plan_confirmation
    from u2pl_ray.search.experiment.experiment import Experiment
    from u2pl_ray.search.storage.place import locate

    search = Experiment.open(name, storage_path)
    again = confirmation_name(search.name)
    if locate(again, search.place.storage).exists():
        experiment = Experiment.open(again, search.place.storage)
        if not json_:
            print(f"{experiment.name} exists: going on with its settings and seeds")
    else:
        plan = plan_confirmation(search, top, seeds, max_concurrent)
        if not json_:
            print("\n".join(plan.lines()))
        if dry_run:
            return
        experiment = plan.create()
    if json_:
        experiment.run()
        print(json.dumps(confirmation(experiment), indent=2))
    else:
        run_experiment(experiment)


def _objective(text: str) -> "Metric":
    """The metric in `perf/step_seconds=minimize`."""
    from u2pl_ray.search.space.space import Metric

    name, _, goal = text.partition("=")
    if not name or goal not in ("maximize", "minimize"):
        raise UserError(f"--objective {text}: write it as perf/step_seconds=minimize, or with maximize")
    return Metric(name, goal == "maximize")


def _more(flag: str, text: str | None, whole: bool = False) -> float:
    """The number in `+10`; 0 if the flag was not given."""
    if text is None:
        return 0
    try:
        more = int(text.removeprefix("+")) if whole else float(text.removeprefix("+"))
    except ValueError:
        more = 0
    if not 0 < more < float("inf"):
        raise UserError(f"{flag} {text}: give how many more, such as +10")
    return more
