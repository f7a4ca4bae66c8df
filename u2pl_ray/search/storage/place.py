"""Places of experiments: a storage that every node reaches, with one folder per experiment.

A storage is a folder (on one machine, or shared), or what a URI names: see `mirror`.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from u2pl_ray.config.errors import UserError
from u2pl_ray.search.storage import layout
from u2pl_ray.search.storage.lease import Lease
from u2pl_ray.search.storage.lease_marks import FileMark
from u2pl_ray.search.storage.leased import Leased
from u2pl_ray.search.storage.looks import looking, there
from u2pl_ray.search.storage.mirror import Mirror
from u2pl_ray.search.storage.object_store import Objects, child
from u2pl_ray.system.stores import is_uri, why

_LEAST_FREE = 5.0  # GiB


class Place(Protocol):
    """The place where one experiment is kept.

    Attributes:
        location: the experiment's folder or URI, as given to users and Ray Train.
        storage: the folder or URI above it.
        folder: the local files that the search reads and writes; without checkpoints if `location` is a URI.
    """

    location: str
    storage: str
    folder: Path

    def exists(self) -> bool:
        """Return whether an experiment is there."""

    def fetch(self) -> None:
        """Update `folder` from the storage: what changed since the last time, but for `layout.FOR_PEOPLE`."""

    def complete(self) -> None:
        """Update what `fetch` leaves out: W&B's runs and pictures."""

    def commit(self) -> None:
        """Store the files of `folder` that resume needs; return when they are stored."""

    def publish(self) -> None:
        """Store all files of `folder`: those of `commit`, and reports and W&B's files."""

    def check_held(self) -> None:
        """Check that this driver, if it holds a `session`, still does; to be called before a session's files change.

        Raises:
            TakenOverError: another driver has taken over, as this one slept or was cut off.
        """

    def below(self, name: str) -> str:
        """Return the location of `name` in the experiment."""

    def holds(self, name: str) -> bool:
        """Return whether a file or folder is stored at `below(name)`."""

    def running(self) -> bool:
        """Return whether a driver works on the experiment at this moment, or is about to write it."""

    def interrupt(self) -> int:
        """Ask the driver, if it runs on this machine, to stop as Ctrl-C would; return its process id.

        Raises:
            UserError: nobody runs the experiment, or somebody out of reach.
        """

    def silent(self) -> float:
        """Return the seconds for which the storage has not answered this driver, which holds a `session`; else 0."""

    def starting(self) -> AbstractContextManager[None]:
        """Return a context in which this process alone may write the experiment, which is not there yet.

        It ends early with a `session` of this place.

        Raises:
            UserError: (on entering) another process is about to write it.
        """

    def session(self) -> AbstractContextManager[None]:
        """Return a context in which this process alone runs the experiment; it begins with `fetch`.

        Within a session of this place, another one changes nothing.

        Raises:
            UserError: (on entering) another process runs it, or is about to.
        """


class Folder(Leased):
    """An experiment in a folder: a `Place` in which every written file is stored at once."""

    def __init__(self, folder: Path) -> None:
        super().__init__(FileMark(folder / layout.LEASE), folder.name, str(folder))
        self.folder, self.storage = folder, str(folder.parent)
        self._starting: ExitStack | None = None

    def exists(self) -> bool:
        """See `Place`."""
        return there(self.folder)

    def fetch(self) -> None:
        """See `Place`."""

    def complete(self) -> None:
        """See `Place`."""

    def commit(self) -> None:
        """See `Place`.

        Raises:
            TakenOverError: another driver has taken over.
        """
        self.check_held()

    def publish(self) -> None:
        """See `Place`."""

    def below(self, name: str) -> str:
        """See `Place`."""
        return str(self.folder / name)

    def holds(self, name: str) -> bool:
        """See `Place`."""
        return there(self.folder / name)

    def running(self) -> bool:
        """See `Place`."""
        return super().running() or self._start_of().held()

    def interrupt(self) -> int:
        """See `Place`."""
        lease = self._lease_of()
        return (lease if lease.held() else self._start_of()).interrupt()

    @contextmanager
    def starting(self) -> Iterator[None]:
        """See `Place`."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as self._starting:
            self._starting.enter_context(self._start_of())
            yield

    @contextmanager
    def session(self) -> Iterator[None]:
        """See `Place`."""
        if self._lease is not None:
            yield
            return
        with ExitStack() as held:
            start = self._start_of()
            if self._starting is None and start.held():
                with start:  # refuses, unless it ends at this moment
                    pass
            self._lease = held.enter_context(self._lease_of())
            held.callback(setattr, self, "_lease", None)
            if self._starting is not None:
                self._starting.close()
            yield

    def _start_of(self) -> Lease:
        """Return the lease of a start: beside the folder, which is to appear whole."""
        return Lease(FileMark(self.folder.with_name(f".{self.folder.name}{layout.STARTING}")), self.folder.name)


def default_storage() -> str:
    """Return U2PL_RAY_STORAGE, else ~/u2pl-ray: a URI, or the folder's absolute path."""
    return absolute(os.environ.get("U2PL_RAY_STORAGE") or "~/u2pl-ray")


def absolute(storage: str | Path | None) -> str:
    """Convert a storage to what all nodes understand: a URI or an absolute path; None: the default storage."""
    if storage is None:
        return default_storage()
    text = str(storage).removeprefix("file://")
    return text.rstrip("/") if is_uri(text) else str(Path(text).expanduser().absolute())


def locate(name: str, storage: str | Path | None = None) -> Place:
    """Return the place of the experiment `name`, which need not exist.

    Args:
        name: a folder's name.
        storage: folder or URI; None: the default storage.

    Raises:
        UserError: the name cannot be a folder's, or the URI cannot be a storage's.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise UserError(f"--name {name!r}: use letters, digits, '.', '_' and '-', beginning with a letter or digit")
    above = absolute(storage)
    return Mirror(child(above, name)) if is_uri(above) else Folder(Path(above) / name)


def find(name: str, storage: str | Path | None = None) -> Place:
    """Return the place of an existing experiment.

    Args:
        name: its name, path or URI.
        storage: folder or URI in which a name is looked up; None: the default storage.

    Raises:
        UserError: see `locate`.
    """
    if not is_uri(name) and os.sep not in name:
        experiment, colon, trial = name.partition(":")
        if colon:
            raise UserError(
                f"{name}: give the experiment alone, {experiment}; a single trial ({trial}) is taken by evaluate, "
                "predict and export"
            )
        return locate(name, storage)
    location = absolute(name)
    return Mirror(location) if is_uri(location) else Folder(Path(location))


def experiments(storage: str | Path | None = None) -> list[str]:
    """List the names of the experiments in a storage; in a folder, oldest first."""
    where = absolute(storage)
    if is_uri(where):
        objects = Objects(where)
        try:
            found = [name for name in objects.folders() if objects.exists(f"{name}/{layout.EXPERIMENT}")]
        except OSError as error:
            raise UserError(f"{where}: {why(error)}") from None
        if not found:
            objects.check_bucket()
        return found
    with looking(where):
        return [name for _, name in sorted(_written(Path(where)))]


def _written(storage: Path) -> Iterator[tuple[float, str]]:
    """Yield when experiment.json of each experiment in a folder was written, and its name."""
    if not storage.exists():
        return
    for folder in storage.iterdir():
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):  # somebody else's is not listed
            if not folder.name.startswith("."):
                yield (folder / layout.EXPERIMENT).stat().st_mtime, folder.name


def writable(storage: str | Path) -> list[str]:
    """Check that experiments can be created in `storage`; return notes for the user.

    Raises:
        UserError: they cannot.
    """
    if is_uri(storage):
        Objects(str(storage)).check()
        return []
    above = existing(Path(storage))
    try:
        tempfile.TemporaryDirectory(prefix=".u2pl-ray.", dir=above).cleanup()
    except OSError as error:
        why = f"{above} cannot be written ({error.strerror})"
        raise UserError(f"--storage-path {storage}: {why}; choose another, or set U2PL_RAY_STORAGE") from None
    free = shutil.disk_usage(above).free / 2**30
    return [f"only {free:.1f} GiB are free in {above}"] if free < _LEAST_FREE else []


def free_space(storage: str | Path) -> str:
    """Describe the free space of a storage."""
    if is_uri(storage):
        return f"{storage}, written and read back"
    return f"{shutil.disk_usage(existing(Path(storage))).free / 2**30:.0f} GiB free"


def existing(folder: Path) -> Path:
    """Return the folder, or the nearest existing one above it.

    Raises:
        UserError: it cannot be told which exist.
    """
    return next(above for above in (folder, *folder.parents) if there(above))
