"""The verb that starts a search."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from u2pl_ray.cli.arguments import (
    ConfigName,
    DumpConfig,
    MaxConcurrent,
    NewName,
    Overrides,
    Patience,
    Quiet,
    ResumeIfExists,
    Storage,
)
from u2pl_ray.cli.asked import Asked
from u2pl_ray.cli.common import check_data, check_labels, default_name, load_config, parse_options, print_config
from u2pl_ray.cli.estimating import announce, check_estimate, print_estimate
from u2pl_ray.cli.running import existing, print_plan, run_again, run_experiment, same_space
from u2pl_ray.config.errors import UserError

if TYPE_CHECKING:
    from u2pl_ray.config.schema import Config
    from u2pl_ray.search.space.space import Metric, Space


def _listed(space: Path | None) -> Path | None:
    """For `--space ?`: print the search spaces that come with the program, and stop."""
    if space is None or str(space) != "?":
        return space
    from u2pl_ray.search.space.shipped import question, shipped_spaces

    for name, file in shipped_spaces().items():
        print(f"{name:14} {question(file)}")
    raise typer.Exit


def search(
    config: ConfigName,
    overrides: Overrides = None,
    space: Annotated[
        Path | None,
        typer.Option(
            "--space",
            help="What to search: a shipped space's name (? lists them), or a YAML file.",
            callback=_listed,
            is_eager=True,
        ),
    ] = None,
    score: Annotated[
        str, typer.Option("--score", help="What of a trial counts: its last epoch, or its best so far.")
    ] = "last",
    objective: Annotated[
        list[str] | None,
        typer.Option("--objective", help="A further one, such as perf/step_seconds=minimize (repeatable)."),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option("--trials", help="How many trials. Default: 20, or no limit if another of these is given:"),
    ] = None,
    trainings: Annotated[
        float | None,
        typer.Option(
            "--trainings",
            help="Full trainings' worth for all: 70 % for new settings, 30 % for the leaders and the paper's setting "
            "again on new seeds. Ends with an answer and its probability.",
        ),
    ] = None,
    replicate: Annotated[
        bool,
        typer.Option(
            "--replicate",
            help="Share out --hours, --gpu-hours or --trials like --trainings: 30 % of it trains the leaders again.",
        ),
    ] = False,
    hours: Annotated[float | None, typer.Option("--hours", help="End after this many hours of searching.")] = None,
    gpu_hours: Annotated[
        float | None,
        typer.Option(
            "--gpu-hours", help="End after this many GPU-hours: GPUs of a trial x hours it runs (on CPU: workers)."
        ),
    ] = None,
    patience: Patience = None,
    name: NewName = None,
    storage_path: Storage = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            "--sampler",
            help="tpe, noisy-gp, random, qmc, gp, cmaes, nsga2. Default: the space's method, else tpe; with "
            "--trainings or --replicate and up to six settings noisy-gp.",
        ),
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
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the proposals. Default: 0.")] = None,
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
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            "--baseline",
            help="A method to train beside the search (repeatable); default: supervised. Without any: none.",
        ),
    ] = None,
    resume_if_exists: ResumeIfExists = False,
    quiet: Quiet = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the plan, measure some steps (one to four minutes), print what the search will take, and stop.",
        ),
    ] = False,
    no_measure: Annotated[bool, typer.Option("--no-measure", help="With --dry-run: print the plan alone.")] = False,
    price_per_gpu_hour: Annotated[
        float | None,
        typer.Option("--price-per-gpu-hour", help="With --dry-run: what the search costs at this price."),
    ] = None,
    dump_config: DumpConfig = False,
) -> None:
    """Search for the best settings. The first trial has the paper's values of what is searched."""
    settings = load_config(config, overrides)
    from u2pl_ray.search.driver.budget import Budget
    from u2pl_ray.search.experiment.plan import plan_search
    from u2pl_ray.search.experiment.replicates import SHARE
    from u2pl_ray.search.space.file import (
        FIRST_METRIC,
        default_metric,
        load_space,
        with_best_epoch,
        with_metric,
        with_objectives,
    )

    if dump_config:
        print_config(settings)
        return
    if space is None:
        raise UserError("--space: name a search space, for example --space paper (--space ? lists them)")
    budget = Budget(hours, gpu_hours, patience, trainings=trainings, replicating=SHARE if replicate else 0.0)
    budget.check()
    check_estimate(price_per_gpu_hour, dry_run, no_measure)
    options = parse_options("--sampler-option", sampler_option), parse_options("--scheduler-option", scheduler_option)
    asked = Asked(
        trials=trials,
        trainings=trainings,
        replicate=replicate,
        hours=hours,
        gpu_hours=gpu_hours,
        patience=patience,
        sampler=sampler,
        sampler_options=options[0],
        scheduler=scheduler,
        scheduler_options=options[1],
        seed=seed,
        warm_start=warm_start or (),
        study_url=study_url,
        baseline=baseline or (),
        max_concurrent=max_concurrent,
        keep_trials=keep_trials,
        autoscale=autoscale,
    )
    if trials is None and not budget.limited:
        trials = 20
    if score not in ("last", "best"):
        raise UserError(f"--score {score}: there are last and best")
    file = load_space(space)

    def complete(default: "Metric") -> "Space":
        """Return the space that the command line asks for, if its file names no metric."""
        whole = with_metric(file, [default])
        whole = with_best_epoch(whole) if score == "best" else whole
        return with_objectives(whole, [_objective(text) for text in objective or []])

    searched = complete(default_metric(file, settings))
    if resume_if_exists and not dry_run and (there := existing(name, storage_path)) is not None:
        if same_space(there.space.text, (earlier := complete(FIRST_METRIC)).text):
            searched = earlier  # of a version whose spaces were compared by this one
        run_again(there, settings, searched, quiet, asked)
        return
    if dry_run and not no_measure:
        announce()
    with ExitStack() as held:
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
            seed=seed or 0,
            warm_start=warm_start or [],
            study_url=study_url,
            max_concurrent=max_concurrent,
            keep=keep_trials,
            autoscale=autoscale,
            baselines=baseline,
            examine=lambda config: _examine(config, baseline or []),
            reserve=lambda place: None if dry_run else held.enter_context(place.starting()),
        )
        if dry_run or not quiet:
            print_plan(plan.lines())
        if dry_run and not no_measure:
            print_estimate(plan, price_per_gpu_hour)
        elif not dry_run:
            run_experiment(plan.create(), quiet=quiet)


def _examine(config: "Config", baselines: list[str]) -> None:
    """Look at data, weights and network, and at the labels that a baseline needs."""
    check_data(config)
    for method in baselines:
        check_labels(config, method)


def _objective(text: str) -> "Metric":
    """The metric in `perf/step_seconds=minimize`."""
    from u2pl_ray.search.space.space import Metric

    name, _, goal = text.partition("=")
    if not name or goal not in ("maximize", "minimize"):
        raise UserError(f"--objective {text}: write it as perf/step_seconds=minimize, or with maximize")
    return Metric(name, goal == "maximize")
