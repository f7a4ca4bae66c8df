"""Verbs that end an experiment: its run, or its files."""

import shutil
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from u2pl_ray.cli.arguments import Name, Storage
from u2pl_ray.cli.common import say
from u2pl_ray.config.errors import UserError

if TYPE_CHECKING:
    from u2pl_ray.search.experiment.experiment import Experiment

_POLL = 0.5
_PATIENCE = 120.0
"""Seconds; a driver that is told to stop saves what its trials have done first, for which it takes at most a minute."""


def stop(name: Name, storage_path: Storage = None) -> None:
    """Stop a search or training that runs on this machine, as Ctrl-C in its own terminal would."""
    from u2pl_ray.search.experiment.experiment import Experiment
    from u2pl_ray.search.storage import layout
    from u2pl_ray.search.storage.place import find

    place = find(name, storage_path)
    if not place.running():
        _check_alone(Experiment.open(name, storage_path))  # says it if there is none of that name
    known = place.folder.name
    process = place.interrupt()
    starting = not place.holds(layout.EXPERIMENT)
    then = "was starting" if starting else "stores what its trials have done first"
    say(f"{known}: process {process} was told to stop; it {then}")
    until = time.monotonic() + _PATIENCE
    while place.running():
        if time.monotonic() > until:
            raise UserError(
                f"{known}: process {process} has not stopped within {_PATIENCE:.0f} s: look at its terminal"
            )
        time.sleep(_POLL)
    if place.holds(layout.EXPERIMENT):
        say(f"stopped; next: u2pl-ray resume {Experiment.open(name, storage_path).argument}")
    else:
        say("stopped before anything of it was written: start it again with the same command")


def _check_alone(experiment: "Experiment") -> None:
    """Refuse to stop a search of several drivers: each has its own machine and terminal, and there is no list of them.

    Raises:
        UserError: drivers run it on a shared study.
    """
    if experiment.options.study_url and experiment.is_running():
        raise UserError(
            f"{experiment.name}: its study is in a database, and several drivers may run it: stop each where it runs "
            "(Ctrl-C, or its queue's command)"
        )


def delete(
    name: Name,
    storage_path: Storage = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete an experiment with its trials, checkpoints and reports. Asks first; not one that runs."""
    from u2pl_ray.search.experiment.experiment import Experiment
    from u2pl_ray.search.listeners.formatting import many
    from u2pl_ray.search.storage import layout
    from u2pl_ray.system.stores import is_uri

    experiment = Experiment.open(name, storage_path)
    location = experiment.place.location
    if is_uri(location):
        raise UserError(f"{location}: only experiments in folders are deleted; use your object store's own command")
    if experiment.place.running():
        raise UserError(f"{experiment.name}: is running; stop it first: u2pl-ray stop {experiment.argument}")
    if experiment.options.study_url:
        raise UserError(
            f"{experiment.name}: its study is in a database, and other drivers may run it: delete both there"
        )
    folder = Path(location)
    if folder.is_symlink():
        raise UserError(f"{folder}: is a link to {folder.resolve()}: delete that, then remove the link")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    trials = sum(1 for _ in (folder / layout.TRIALS).glob("*/"))
    say(f"{folder}: {many(trials, 'trial')}, {size / 2**20:.0f} MiB")
    if not yes:
        if not sys.stdin.isatty():
            raise UserError(f"{experiment.name}: nobody can be asked here; add --yes to delete it")
        if not typer.confirm("Delete it for good?"):
            raise typer.Abort
    gone = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    try:
        with experiment.place.session():  # again: a job may have gone on with it while the question stood
            folder.rename(gone)  # at once: nobody finds half of it
        shutil.rmtree(gone)
    except OSError as error:
        left = gone if gone.exists() else folder
        raise UserError(f"{left}: cannot be deleted ({error.strerror}: {error.filename})") from None
    say("deleted")
