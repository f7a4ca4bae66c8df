"""Verbs that go on with a search: continue it, add to it, confirm its result."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from u2pl_ray.cli import exit_codes
from u2pl_ray.cli.arguments import AsJson, Force, MaxConcurrent, Name, Patience, Quiet, Storage
from u2pl_ray.cli.asked import Asked
from u2pl_ray.cli.common import check_data
from u2pl_ray.cli.running import check_ready, print_plan, resume_experiment, run_experiment, take_options, tell_end
from u2pl_ray.config.errors import UserError

if TYPE_CHECKING:
    from u2pl_ray.search.experiment.experiment import Experiment
    from u2pl_ray.search.experiment.plan import Plan
    from u2pl_ray.search.storage.place import Place


def resume(
    name: Name,
    changes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[a.b=c]...",
            help="Settings that leave results as they are, e.g. data.root=/new/place for data that was moved.",
        ),
    ] = None,
    max_concurrent: MaxConcurrent = None,
    storage_path: Storage = None,
    retry_errored: Annotated[
        bool,
        typer.Option(
            "--retry-errored",
            help="Run trials that broke once more, from their last checkpoints. Those that failed for data, weights "
            "or the machine always do.",
        ),
    ] = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Continue a search or training from where it stopped."""
    from u2pl_ray.search.experiment.experiment import Experiment
    from u2pl_ray.search.experiment.relocate import plan_change, record_change

    experiment = Experiment.open(name, storage_path)
    if changes:
        experiment = plan_change(experiment, changes)
    with experiment.held():
        if changes:
            check_ready(experiment)
            for line in record_change(experiment):
                print(f"changed: {line}")
        experiment = take_options(experiment, Asked(max_concurrent=max_concurrent))
        ended = resume_experiment(experiment, force, retry_errored, quiet)
    tell_end(experiment, ended)


def extend(
    name: Name,
    trials: Annotated[str | None, typer.Option("--trials", help="How many more, such as +10.")] = None,
    trainings: Annotated[
        str | None, typer.Option("--trainings", help="How many more full trainings' worth, such as +10.")
    ] = None,
    hours: Annotated[str | None, typer.Option("--hours", help="How many more hours, such as +2.")] = None,
    gpu_hours: Annotated[
        str | None, typer.Option("--gpu-hours", help="How many more GPU-hours (GPUs of a trial x hours), such as +8.")
    ] = None,
    patience: Patience = None,
    space: Annotated[
        Path | None, typer.Option("--space", help="The same settings with other bounds; choices must stay.")
    ] = None,
    storage_path: Storage = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Add trials or hours to a search, or change its ranges, on the same study; then run it."""
    from u2pl_ray.search.experiment import extend as extension
    from u2pl_ray.search.experiment.experiment import Experiment
    from u2pl_ray.search.space.file import load_space

    more_trials, more_hours = int(_more("--trials", trials, whole=True)), _more("--hours", hours)
    more_trainings = _more("--trainings", trainings)
    more_gpu_hours = _more("--gpu-hours", gpu_hours)
    before = Experiment.open(name, storage_path)
    ranges = None if space is None else load_space(space)
    extension.check_extension(more_trials, more_hours, more_gpu_hours, patience, ranges, more_trainings)
    extension.check_search(before)
    with before.held():
        check_ready(before)
        experiment, notes = extension.extend(
            before,
            more_trials,
            trainings=more_trainings,
            hours=more_hours,
            device_hours=more_gpu_hours,
            patience=patience,
            space=ranges,
        )
        for note in notes:
            print(note)
        ended = resume_experiment(experiment, force, quiet=quiet)
    tell_end(experiment, ended)


def confirm(
    name: Name,
    trainings: Annotated[
        str | None,
        typer.Option(
            "--trainings",
            help="So many more trainings, such as +12, of the leaders and the paper's setting: in the same search, for "
            "the same answer. Instead of --top and --seeds.",
        ),
    ] = None,
    top: Annotated[int, typer.Option("--top", help="How many of the best trials.")] = 3,
    seeds: Annotated[int, typer.Option("--seeds", help="Trainings of each setting.")] = 3,
    max_concurrent: MaxConcurrent = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and its time, and stop.")] = False,
    storage_path: Storage = None,
    quiet: Quiet = False,
    json_: AsJson = False,
) -> None:
    """Train the best settings and the paper's again, on new seeds: do they differ by more than the noise?

    With --trainings +N in the same search, where they count for its answer. Else as an experiment of its own,
    NAME-confirm: resume it, look at it and sync it like any other.
    """
    from u2pl_ray.analysis.confirmation import confirmation
    from u2pl_ray.search.experiment.confirm import plan_confirmation
    from u2pl_ray.search.experiment.experiment import Experiment

    search = Experiment.open(name, storage_path)
    if trainings is not None:
        from u2pl_ray.search.experiment.replicates import add_replicates

        if dry_run or json_ or max_concurrent is not None:
            raise UserError("--trainings: goes with neither --dry-run, --json nor --max-concurrent")
        more = int(_more("--trainings", trainings, whole=True))
        with search.held():
            check_ready(search)
            search = add_replicates(search, more)
            ended = resume_experiment(search, quiet=quiet)
        tell_end(search, ended)
        return

    def plan(reserve: "Callable[[Place], None]") -> "Plan":
        return plan_confirmation(search, top, seeds, max_concurrent, examine=check_data, reserve=reserve)

    with _beside(search, search.confirmation, plan, dry_run, silent=json_) as experiment:
        if experiment is None:
            return
        if json_:
            summary = experiment.run()
            _renew_best(search)
            print(json.dumps(confirmation(experiment), indent=2))
            if not (summary.finished and summary.succeeded):
                raise typer.Exit(exit_codes.AGAIN if summary.noticed else exit_codes.FAILED)
        else:
            run_experiment(experiment, quiet=quiet)
            _renew_best(search)


def _renew_best(search: "Experiment") -> None:
    """Write and store the best.yaml of a search whose confirmation has ended, which may have changed it.

    Args:
        search: as it was before the confirmation, during which it may have gone on elsewhere.
    """
    from u2pl_ray.search.experiment.experiment import Experiment

    now = Experiment.open(search.place.location)
    if not now.is_running():  # its driver writes best.yaml at its end
        now.write_best()
        now.place.publish()


def worth(
    name: Name,
    seeds: Annotated[int, typer.Option("--seeds", help="Trainings of each kind.")] = 3,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and its time, and stop.")] = False,
    storage_path: Storage = None,
    quiet: Quiet = False,
) -> None:
    """What are the unlabeled images worth, in labeled ones?

    Trains the search's setting, and supervised on all, a half and a quarter of the labels, on new seeds; an experiment
    of its own, NAME-worth.
    """
    from u2pl_ray.search.experiment.experiment import Experiment
    from u2pl_ray.search.experiment.worth import plan_worth, worth_name

    search = Experiment.open(name, storage_path)

    def plan(reserve: "Callable[[Place], None]") -> "Plan":
        return plan_worth(search, seeds, examine=check_data, reserve=reserve)

    with _beside(search, worth_name(search.name), plan, dry_run) as experiment:
        if experiment is not None:
            run_experiment(experiment, quiet=quiet)


@contextmanager
def _beside(
    search: "Experiment",
    name: str,
    plan: "Callable[[Callable[[Place], None]], Plan]",
    dry_run: bool,
    silent: bool = False,
) -> "Iterator[Experiment | None]":
    """Open or create the experiment of that name beside a search, and print its plan; None for a dry run.

    Args:
        search: whose storage it is in.
        name: of the experiment, which is held from here on where it is new.
        plan: makes it, if it is not there yet; called with what `plan_search` takes as `reserve`.
        dry_run: print the plan alone.
        silent: print nothing.
    """
    from u2pl_ray.search.experiment.elapsed import time_lines
    from u2pl_ray.search.experiment.experiment import Experiment
    from u2pl_ray.search.experiment.plan import Plan
    from u2pl_ray.search.storage.place import locate

    if locate(name, search.place.storage).exists():
        experiment = Experiment.open(name, search.place.storage)
        if not silent:
            print(f"{experiment.name} exists: going on with its settings and seeds")
        if dry_run:
            print_plan(Plan.of(experiment).lines())
        else:
            check_ready(experiment)
        yield None if dry_run else experiment
        return
    with ExitStack() as held:
        planned = plan(lambda place: None if dry_run else held.enter_context(place.starting()))
        if not silent:
            print_plan([*planned.lines(), *time_lines(search, planned)])
        yield None if dry_run else planned.create()


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
