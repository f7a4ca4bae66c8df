"""Verbs that look at an experiment, running or finished."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from u2pl_ray.cli.arguments import AsJson, Name, Storage
from u2pl_ray.cli.common import check_split
from u2pl_ray.config.errors import UserError


def status(
    name: Name,
    storage_path: Storage = None,
    watch: Annotated[
        bool | None,
        typer.Option("--watch/--once", help="Keep it up to date until the search ends. Default: on a terminal."),
    ] = None,
    json_: AsJson = False,
) -> None:
    """Show where a search stands: trials, rungs, best so far, time left. From any terminal, also after a crash."""
    from u2pl_ray.search.experiment import Experiment

    experiment = Experiment.open(name, storage_path)
    if json_:
        print(json.dumps(experiment.status(), indent=2))
        return
    from u2pl_ray.analysis import status as looking

    if sys.stdout.isatty() if watch is None else watch:
        looking.watch(experiment)
    else:
        looking.print_status(experiment)


def report(
    names: Annotated[list[str], typer.Argument(metavar="NAMES...", help="An experiment, or several to compare.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write. Default: report.html in the (first) folder.")
    ] = None,
    storage_path: Storage = None,
) -> None:
    """Write one HTML page that shows why one setting beat another. Opens without a network; of running searches too."""
    from u2pl_ray.analysis.load import load
    from u2pl_ray.analysis.report import write_report

    print(write_report([load(name, storage_path) for name in names], output))


def best(name: Name, storage_path: Storage = None, json_: AsJson = False) -> None:
    """Show the best trial: its settings, its score, its checkpoint."""
    from u2pl_ray.analysis.tables import best_of, print_best
    from u2pl_ray.search.experiment import Experiment

    experiment = Experiment.open(name, storage_path)
    if json_:
        print(json.dumps(best_of(experiment), indent=2))
    else:
        print_best(experiment)


def compare(
    names: Annotated[list[str], typer.Argument(metavar="NAMES...", help="Experiments, searches or single trainings.")],
    split: Annotated[str, typer.Option("--split", help="val (as reported) or test (evaluated now).")] = "val",
    storage_path: Storage = None,
) -> None:
    """Put the best trials of several experiments side by side, student and teacher."""
    from u2pl_ray.analysis.tables import print_comparison
    from u2pl_ray.search.experiment import Experiment

    check_split(split)
    print_comparison([Experiment.open(name, storage_path) for name in names], split)


def export(
    name: Name,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write. Default: NAME-best.yaml.")
    ] = None,
    storage_path: Storage = None,
) -> None:
    """Write the best trial's configuration to a file that [bold]train[/bold] accepts unchanged."""
    from u2pl_ray.search.experiment import Experiment

    experiment = Experiment.open(name, storage_path)
    target = output or Path(f"{experiment.name}-best.yaml")
    if target.exists():
        raise UserError(f"{target}: exists already; choose another --output")
    written = experiment.write_best()
    if written is None:
        raise UserError(
            f"{experiment.name}: no trial has reported a result yet; see `u2pl-ray status {experiment.name}`"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(written.read_text("utf-8"), "utf-8")
    except OSError as error:
        raise UserError(f"--output {target}: {error.strerror or error}") from None
    print(f"{target}  (train it: u2pl-ray train {target})")
