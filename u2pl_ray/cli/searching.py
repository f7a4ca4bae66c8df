"""Verbs that run a search: start it, continue it, add to it."""

from pathlib import Path
from typing import Annotated

import typer

from u2pl_ray.cli.arguments import ConfigName, DumpConfig, MaxConcurrent, Name, NewName, Overrides, Storage
from u2pl_ray.cli.common import check_data, default_name, load_config, print_config, run_experiment
from u2pl_ray.config.errors import UserError


def search(
    config: ConfigName,
    overrides: Overrides = None,
    space: Annotated[
        Path | None, typer.Option("--space", help="What to search: a YAML file, see search_spaces/.")
    ] = None,
    trials: Annotated[int, typer.Option("--trials", help="How many trials.")] = 20,
    name: NewName = None,
    storage_path: Storage = None,
    sampler: Annotated[
        str | None,
        typer.Option("--sampler", help="tpe, random, qmc, gp, nsga2. Default: the space's method, else tpe."),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            "--scheduler", help="none, asha, hyperband, median. Default: the space's early_terminate, else asha."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the proposals.")] = 0,
    max_concurrent: MaxConcurrent = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    dump_config: DumpConfig = False,
) -> None:
    """Search for the best settings. The paper's own setting is always the first trial."""
    from u2pl_ray.search.plan import plan_search
    from u2pl_ray.search.space import load_space

    settings = load_config(config, overrides)
    if dump_config:
        print_config(settings)
        return
    if space is None:
        raise UserError("--space: name a search space, for example --space search_spaces/paper.yaml")
    if trials < 1:
        raise UserError(f"--trials {trials}: give at least 1")
    searched = load_space(space)
    check_data(settings)
    plan = plan_search(
        settings,
        searched,
        name=name or default_name(config, space.stem),
        trials=trials,
        storage_path=storage_path,
        sampler=sampler,
        scheduler=scheduler,
        seed=seed,
        max_concurrent=max_concurrent,
    )
    for line in plan.lines():
        print(line)
    if not dry_run:
        run_experiment(plan.create())


def resume(name: Name, storage_path: Storage = None) -> None:
    """Continue a search or training that was interrupted, wherever it stands."""
    from u2pl_ray.search.experiment import Experiment

    run_experiment(Experiment.open(name, storage_path))


def extend(
    name: Name,
    trials: Annotated[str, typer.Option("--trials", help="How many more, such as +10.")],
    storage_path: Storage = None,
) -> None:
    """Add trials to a search that has finished, on the same study."""
    from u2pl_ray.search.experiment import Experiment

    more = trials.removeprefix("+")
    if not more.isdecimal() or int(more) < 1:
        raise UserError(f"--trials {trials}: give how many more, such as +10")
    run_experiment(Experiment.open(name, storage_path).extend(int(more)))
