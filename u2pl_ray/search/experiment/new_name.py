"""The name of a new experiment: whether it is free, or held by one that came to nothing and makes way."""

from pathlib import Path

from u2pl_ray.config.errors import UserError
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.listeners.formatting import why_failed
from u2pl_ray.search.storage import layout
from u2pl_ray.search.storage.place import Folder, Place, locate
from u2pl_ray.search.study.trial_record import State


def new_place(name: str, storage_path: str | Path | None = None) -> tuple[Place, str]:
    """Return the place of a new experiment, and why the one that is there makes way; empty if nothing is there.

    An experiment makes way if all its trials failed before their first epoch, and no baseline came to one.

    Args:
        name: the experiment's.
        storage_path: folder or URI; None: the default storage.

    Raises:
        UserError: the name is used, or cannot be a folder's.
    """
    place = locate(name, storage_path)
    if not place.exists():
        return place, ""
    failed = _worthless(place)
    if not failed:
        raise taken(place)
    return place, failed


def taken(place: Place) -> UserError:
    """Return the refusal of a name that is used."""
    name = place.folder.name
    if not place.holds(layout.EXPERIMENT):
        return UserError(f"--name {name}: {place.location} is there already, and is no experiment; choose another name")
    again = Experiment.open(name, place.storage).argument
    return UserError(
        f"--name {name}: exists already; continue it with `u2pl-ray resume {again}`, or choose another name"
    )


def _worthless(place: Place) -> str:
    """Return why all trials of an experiment failed before their first epoch; empty if there is anything to keep.

    That is also what was trained beside its trials; companions that are still queued are nothing.
    """
    if not isinstance(place, Folder) or not place.holds(layout.EXPERIMENT):
        return ""
    experiment = Experiment.open(place.folder.name, place.storage)
    if experiment.options.study_url or experiment.is_running():
        return ""
    everything = experiment.study().all_records()
    records = [record for record in everything if record.companion is None]
    begun = [record for record in everything if record.companion is None or record.state != State.PENDING]
    if not records or any(record.epochs or not record.state.finished for record in begun):
        return ""
    return "; ".join(why_failed(records))
