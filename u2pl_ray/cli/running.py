"""Run an experiment for a verb: look whether it can go on, print the plan, run it, print how it ended."""

import sys
from functools import cache
from typing import TYPE_CHECKING

import typer

from u2pl_ray.cli import exit_codes
from u2pl_ray.cli.asked import NOTHING, Asked
from u2pl_ray.cli.common import check_data, say, warn
from u2pl_ray.cli.notice import heed_notice
from u2pl_ray.config.errors import UserError

if TYPE_CHECKING:
    from u2pl_ray.config.schema import Config
    from u2pl_ray.search.experiment.experiment import Experiment, Summary
    from u2pl_ray.search.space.space import Space
    from u2pl_ray.search.study.study import TrialStudy


def check_ready(experiment: "Experiment") -> None:
    """Refuse to go on with an experiment that somebody runs, or whose data or weights cannot be used (any more).

    Nothing of it is changed.
    """
    experiment.check_free()
    try:
        check_data(experiment.config)
    except UserError as error:
        moved = f"; moved: u2pl-ray resume {experiment.argument} data.root=..." if "data.root=" in str(error) else ""
        raise UserError(f"{error}{moved}") from None


def existing(name: str | None, storage_path: str | None) -> "Experiment | None":
    """Return the experiment that `--resume-if-exists` goes on with; None if it is yet to be started.

    Raises:
        UserError: no name was given.
    """
    from u2pl_ray.search.experiment.experiment import Experiment
    from u2pl_ray.search.storage.place import locate

    if name is None:
        raise UserError("--resume-if-exists: say with --name which experiment it is")
    return Experiment.open(name, storage_path) if locate(name, storage_path).exists() else None


def run_again(
    experiment: "Experiment", config: "Config", space: "Space | None", quiet: bool, asked: Asked = NOTHING
) -> None:
    """Go on with an experiment that a job queue starts again; it must be the one that is asked for.

    Options on which no result depends are taken from the command line. Of others that differ, a warning says so.

    Args:
        experiment: what is there under the name.
        config: what the command line asks for.
        space: the same; None for a single training.
        quiet: see `run_experiment`.
        asked: the command line's options.

    Raises:
        UserError: it is of another configuration or space.
    """
    from u2pl_ray.config.overrides import apply, get, paths
    from u2pl_ray.search.experiment.snapshot import HARMLESS

    config = config if space is None else apply(config, space.constants)  # as a search stores it
    changed = [path for path in paths() if get(experiment.config, path) != get(config, path)]
    differ = [path for path in changed if not path.startswith(HARMLESS)]
    if differ:
        path = differ[0]
        raise UserError(
            f"--name {experiment.name}: exists already with {path}={get(experiment.config, path)}, and "
            f"{path}={get(config, path)} is asked for; choose another name, or give the same configuration"
        )
    if space is not None and not same_space(experiment.space.text, space.text):
        raise UserError(
            f"--name {experiment.name}: exists already with another search space than {space.source}; choose another "
            f"name, or `u2pl-ray extend {experiment.argument} --space` for other ranges"
        )
    for path in changed:  # without the values: some name an account
        change = f"`u2pl-ray resume {experiment.argument} {path}=...` changes that"
        warn(f"{path}: {experiment.name} has another, and keeps it; {change}")
    for line in asked.unheeded(experiment):
        warn(line)
    study = _readable_study(experiment)
    if study is not None and experiment.is_finished(study) and _succeeded(study):
        print(f"{experiment.name}: is finished; see `u2pl-ray best {experiment.argument}`")
        return
    with experiment.held():
        experiment = take_options(experiment, asked)
        summary = resume_experiment(experiment, quiet=quiet)
    tell_end(experiment, summary)


def take_options(experiment: "Experiment", asked: Asked) -> "Experiment":
    """Give an experiment, which is held, the options on which no result depends; print those that were others.

    Args:
        experiment: stays as it is if it cannot go on.
        asked: the command line's options.
    """
    from u2pl_ray.search.experiment.adjust import plan_options, record_options

    changed, lines = plan_options(experiment, asked.max_concurrent, asked.keep_trials, asked.autoscale)
    if lines:
        check_ready(changed)
        record_options(changed)
    for line in lines:
        print(f"changed: {line}")
    return changed


def _succeeded(study: "TrialStudy") -> bool:
    return any(record.state.value in ("COMPLETED", "STOPPED") for record in study.records())


def same_space(stored: str, asked: str) -> bool:
    """Return whether two space files say the same, comments and layout aside.

    Args:
        stored: text of an experiment's; one of an earlier version may name no metric.
        asked: text of the one that is asked for.
    """
    from u2pl_ray.config.yaml_text import read_yaml

    then, now = read_yaml(stored), read_yaml(asked)
    if "metric" not in then:
        now.pop("metric", None)
    return bool(then == now)


def resume_experiment(
    experiment: "Experiment", force: bool = False, retry_errored: bool = False, quiet: bool = False
) -> "Summary":
    """Go on with an experiment after looking whether it can: print the plan, then run, as `run_experiment` does.

    Returns:
        For `tell_end`, once the experiment is not held any more.
    """
    from u2pl_ray.search.experiment.plan import Plan
    from u2pl_ray.search.study.trial_record import State

    study = _readable_study(experiment)
    failed = study is not None and any(record.state == State.FAILED for record in study.all_records())
    if study is None or failed or not experiment.is_finished(study):
        check_ready(experiment)
        if not quiet:
            print_plan(Plan.of(experiment).lines())
    else:
        experiment.check_free()
        more = "" if experiment.single else f"; u2pl-ray extend {experiment.argument} adds to it"
        say(f"{experiment.name} is finished: nothing is left to run{more}")
    return _run(experiment, force, retry_errored, quiet)


def _readable_study(experiment: "Experiment") -> "TrialStudy | None":
    """Return the study; None if its journal is gone or damaged, which running the experiment restores."""
    try:
        return experiment.study()
    except UserError:
        if experiment.options.study_url:
            raise
        return None


def print_plan(lines: list[str]) -> None:
    """Print a plan, as it is."""
    for line in lines:
        say(line)


def run_experiment(experiment: "Experiment", quiet: bool = False) -> None:
    """Run an experiment, with console and W&B, and print how it ended.

    Args:
        experiment: to run.
        quiet: print how it ended, and what goes wrong, alone.

    Raises:
        typer.Exit: with an exit code other than 0, see `exit_codes`.
    """
    tell_end(experiment, _run(experiment, False, False, quiet))


def _run(experiment: "Experiment", force: bool, retry_errored: bool, quiet: bool) -> "Summary":
    from u2pl_ray.analysis.alarms import AlarmListener
    from u2pl_ray.search.listeners.console import ConsoleListener, plain_console
    from u2pl_ray.search.listeners.wandb import WandbListener, sweep_of
    from u2pl_ray.tracking.sink import WandbSink

    tracking, metric = experiment.config.tracking, experiment.space.metric
    sink = WandbSink(
        experiment.folder,
        tracking.project,
        tracking.entity,
        experiment.name,
        tracking.wandb,
        objective=metric.name,
        maximize=metric.maximize,
        sweep=sweep_of(experiment.space.text),
    )
    console = plain_console()
    study = cache(experiment.study)  # opened when it is first asked: a damaged one is mended before that
    total, epochs = experiment.options.trials, experiment.config.train.epochs
    told = ConsoleListener(
        console,
        metric.name,
        total,
        epochs,
        lambda: study().all_records(),
        lambda: experiment.allowance.decided(study().study.user_attrs),
    )
    listeners = [*([] if quiet else [told]), AlarmListener(warn), WandbListener(sink, console.print)]
    with heed_notice():  # again: Ray, which may have started meanwhile, has handlers of its own
        return experiment.run(listeners, force, retry_errored)


def tell_end(experiment: "Experiment", summary: "Summary") -> None:
    """Print how an experiment ended. While it is held it counts as running, also in the report that is written here.

    Args:
        experiment: that ran; not held any more.
        summary: result of running it.

    Raises:
        typer.Exit: with an exit code other than 0, see `exit_codes`.
    """
    from u2pl_ray.analysis.confirmation import print_confirmation, write_confirmation
    from u2pl_ray.analysis.label_worth import print_worth, write_worth
    from u2pl_ray.analysis.tables import print_summary
    from u2pl_ray.search.listeners.console import plain_console
    from u2pl_ray.search.listeners.formatting import why_failed

    console = plain_console()
    told_of = {"confirms": (print_confirmation, write_confirmation), "worth_of": (print_worth, write_worth)}
    kinds = [tell for option, tell in told_of.items() if getattr(experiment.options, option)]
    if not kinds:
        print_summary(experiment, summary, console)
    for show, write in kinds:
        show(experiment, console)
        console.print(f"as JSON: {write(experiment)}")
        if not summary.finished:
            console.print(f"not finished: {summary.reason}; next: u2pl-ray resume {experiment.argument}")
    if summary.noticed:
        raise typer.Exit(exit_codes.AGAIN)
    if not summary.succeeded:
        reasons = "; ".join(why_failed(summary.trials)) or summary.reason
        print(f"{experiment.name}: no training succeeded: {reasons}", file=sys.stderr)
    if not (summary.succeeded and summary.finished):
        raise typer.Exit(exit_codes.FAILED)
