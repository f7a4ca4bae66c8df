"""`u2pl-ray wandb`: an experiment in Weights & Biases."""

from typing import Annotated

import typer

from u2pl_ray.cli.arguments import Name, Storage
from u2pl_ray.cli.common import warn


def sync(
    name: Name,
    storage_path: Storage = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the runs that would be uploaded, and where to, and stop.")
    ] = False,
) -> None:
    """Upload what was logged offline, as runs of a native Sweep, and check that it arrived."""
    from u2pl_ray.search.experiment.experiment import Experiment
    from u2pl_ray.search.listeners.wandb import sweep_of
    from u2pl_ray.tracking import sync as syncing

    experiment = Experiment.open(name, storage_path)
    experiment.place.complete()
    tracking = experiment.config.tracking
    if dry_run:
        to = "/".join(part for part in (tracking.entity or "(your account)", tracking.project) if part)
        pending = syncing.pending(experiment.folder)
        print(f"{len(pending)} run{'s' * (len(pending) != 1)} would go to {to}, in the group {experiment.name}:")
        for run in pending:
            print(
                f"  {run.name}  {run.last_step} epoch{'s' * (run.last_step != 1)}"
                + ("" if run.exit_code is not None else ", not finished")
            )
        return
    sweep = sweep_of(experiment.space.text)
    report = syncing.sync(
        experiment.folder, tracking.project, tracking.entity, experiment.name, sweep, running=experiment.is_running()
    )
    experiment.place.publish()  # what is uploaded is noted in files
    print(
        f"{report.uploaded} of {report.runs} runs uploaded" + (f", {report.running} still run" * bool(report.running))
    )
    for note in report.notes:
        warn(note)
    if report.uploaded < report.runs:
        raise typer.Exit(1)


def workspace(name: Name, storage_path: Storage = None) -> None:
    """Save a view and a report of an uploaded experiment: parallel coordinates, importance, curves, diagnostics."""
    from u2pl_ray.search.experiment.experiment import Experiment
    from u2pl_ray.tracking.workspace import View, save

    experiment = Experiment.open(name, storage_path)
    experiment.place.complete()
    study = experiment.study()
    judgement, parameters = experiment.judgement(study), experiment.space.parameters
    best_trial = experiment.best(study, judgement)
    choices = [path for path, parameter in parameters.items() if parameter.choices is not None]
    view = View(
        experiment.name,
        experiment.space.metric.name,
        list(parameters),
        choices or list(parameters),
        None if best_trial is None else best_trial.id,
        judgement.reference,
    )
    save(experiment.folder, experiment.config.tracking.project, experiment.config.tracking.entity, view)
    print(f"saved the view and the report {experiment.name} in project {experiment.config.tracking.project}")
