"""Verbs that look at an experiment, running or finished."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from u2pl_ray.cli.arguments import AsJson, Checkpoint, Name, Storage
from u2pl_ray.cli.common import check_split
from u2pl_ray.config.errors import UserError, nearest


def list_experiments(
    storage: Annotated[
        str | None, typer.Argument(metavar="[STORAGE]", help="A folder or URI; as --storage-path.", show_default=False)
    ] = None,
    storage_path: Storage = None,
    json_: AsJson = False,
) -> None:
    """List the experiments in a storage: state, trials, the leader, age. Oldest first."""
    from u2pl_ray.analysis.listing import listing, print_listing
    from u2pl_ray.search.storage.place import absolute

    storage_path = storage or storage_path
    rows = listing(storage_path)
    if json_:
        print(json.dumps(rows, indent=2))
    else:
        print_listing(rows, absolute(storage_path))


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
    from u2pl_ray.search.experiment.experiment import Experiment

    experiment = Experiment.open(name, storage_path)
    from u2pl_ray.analysis import status as looking
    from u2pl_ray.analysis.load import analyse

    if json_:
        print(json.dumps(looking.as_data(analyse(experiment)), indent=2))
        return

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
    """Show the best trial: its settings, its score, its checkpoint. With several objectives: the Pareto front."""
    from rich.console import Console

    from u2pl_ray.analysis.front import front_of, print_front
    from u2pl_ray.analysis.tables import best_of, print_best
    from u2pl_ray.search.experiment.experiment import Experiment

    experiment = Experiment.open(name, storage_path)
    if experiment.space.further:
        front = experiment.study().front()
        if json_:
            print(json.dumps({"name": experiment.name, "front": front_of(experiment, front)}, indent=2))
        else:
            print_front(experiment, front, Console(soft_wrap=True, highlight=False))
    elif json_:
        print(json.dumps(best_of(experiment), indent=2))
    else:
        print_best(experiment)


def compare(
    names: Annotated[list[str], typer.Argument(metavar="NAMES...", help="Experiments, searches or single trainings.")],
    split: Annotated[str, typer.Option("--split", help="val (as reported) or test (evaluated now).")] = "val",
    storage_path: Storage = None,
) -> None:
    """Put the best trials of several experiments, and their baselines, side by side: student, teacher, gap closed."""
    from u2pl_ray.analysis.compare import print_comparison
    from u2pl_ray.search.experiment.experiment import Experiment

    check_split(split)
    print_comparison([Experiment.open(name, storage_path) for name in names], split)


def export(
    name: Checkpoint,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write. Default: NAME-best.yaml, or NAME-TRIAL.yaml."),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", help="Write weights with their configuration instead: FILE.safetensors."),
    ] = None,
    network: Annotated[str, typer.Option("--network", help="Whose weights: teacher or student.")] = "teacher",
    trial: Annotated[str | None, typer.Option("--trial", help="Which trial. Default: the best.")] = None,
    storage_path: Storage = None,
) -> None:
    """Write the best trial's configuration to a file that [bold]train[/bold] accepts unchanged, or its weights.

    With several objectives: a file for each trial of the Pareto front. Weights are for [bold]predict[/bold],
    [bold]evaluate[/bold] and model.encoder_weights.
    """
    if weights is not None:
        from u2pl_ray.cli.checkpoints import write_weights_of

        if output is not None:
            raise UserError("--output: names the configuration's file; --weights names its own")
        write_weights_of(name, trial, storage_path, weights, network)
        return
    from u2pl_ray.search.experiment.experiment import Experiment

    if "://" not in name and ":" in name:
        name, _, named = name.partition(":")
        if trial is not None:
            raise UserError(f"{name}:{named} --trial {trial}: name the trial once")
        trial = named.zfill(4)
    experiment = Experiment.open(name, storage_path)
    study = experiment.study()
    judgement = experiment.judgement(study)
    best = experiment.best(study, judgement)
    if best is None:
        from u2pl_ray.analysis.tables import no_result

        raise UserError(f"{experiment.name}: {no_result(experiment)}")
    if trial is not None:
        records = {record.id: record for record in study.all_records() if record.settings}
        if trial not in records:
            raise UserError(f"--trial {trial}: no such trial in {experiment.name}{nearest(trial, records)}")
        exported = {output or Path(f"{experiment.name}-{trial}.yaml"): records[trial]}
    elif experiment.space.further:
        if output is not None:
            raise UserError("--output: there is a file for each trial of the Pareto front; choose one with --trial")
        exported = {Path(f"{experiment.name}-{record.id}.yaml"): record for record in study.front()}
    else:
        exported = {output or Path(f"{experiment.name}-best.yaml"): best}
    for target in exported:
        if target.exists():
            raise UserError(f"{target}: exists already; choose another --output")
    for target, record in exported.items():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(experiment.export(record, judgement if record == best else None), "utf-8")
        except OSError as error:
            raise UserError(f"--output {target}: {error.strerror or error}") from None
        print(f"{target}  (train it: u2pl-ray train {shlex.quote(str(target))})")
