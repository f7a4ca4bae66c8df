"""Where experiments are kept: one folder, on storage that every node reaches, with a folder in it per experiment."""

import os
import re
import shutil
import tempfile
from pathlib import Path

from u2pl_ray.config.errors import UserError


def default_storage() -> Path:
    """U2PL_RAY_STORAGE, else ~/u2pl-ray."""
    return Path(os.environ.get("U2PL_RAY_STORAGE") or "~/u2pl-ray").expanduser()


def experiment_folder(name: str, storage_path: str | Path | None) -> Path:
    """Where the experiment `name` is, or would be.

    Raises:
        UserError: the name cannot be a folder's.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise UserError(f"--name {name!r}: use letters, digits, '.', '_' and '-', beginning with a letter or digit")
    storage = default_storage() if storage_path is None else Path(storage_path).expanduser()
    return storage.absolute() / name


def experiments(storage_path: str | Path | None = None) -> list[str]:
    """Names of the experiments in a storage, oldest first."""
    storage = default_storage() if storage_path is None else Path(storage_path).expanduser()
    found = [entry.parent for entry in storage.glob("*/experiment.json") if not entry.parent.name.startswith(".")]
    return [folder.name for folder in sorted(found, key=lambda folder: (folder / "experiment.json").stat().st_mtime)]


def writable(storage: Path) -> list[str]:
    """Check that experiments can be created in `storage`; sentences worth saying about it.

    Raises:
        UserError: they cannot.
    """
    above = storage
    while not above.exists() and above != above.parent:
        above = above.parent
    try:
        tempfile.TemporaryDirectory(prefix=".u2pl-ray.", dir=above).cleanup()
    except OSError as error:
        why = f"{above} cannot be written ({error.strerror})"
        raise UserError(f"--storage-path {storage}: {why}; choose another, or set U2PL_RAY_STORAGE") from None
    free = shutil.disk_usage(above).free / 2**30
    return [f"only {free:.1f} GiB are free in {above}"] if free < 1 else []


def free_space(folder: Path) -> str:
    """How much room the file system of `folder` has, for people."""
    above = folder
    while not above.exists():
        above = above.parent
    return f"{shutil.disk_usage(above).free / 2**30:.0f} GiB free"
