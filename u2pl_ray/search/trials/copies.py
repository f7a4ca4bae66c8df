"""Copy a trial's files for other trials: completely or not at all, and never over existing files."""

import os
import shutil
from pathlib import Path

from u2pl_ray.search.storage.layout import CONFIG, TRIAL
from u2pl_ray.system.atomic import PARTIAL, whole_folder


def inherit(parent: Path, folder: Path) -> None:
    """Copy checkpoints and epoch log of a trial to one that has no folder yet.

    Args:
        parent: folder of the trial to copy from; nothing happens if it is gone.
        folder: the new trial's; nothing happens if it exists.
    """
    if folder.exists() or not parent.exists():
        return
    own = shutil.ignore_patterns(TRIAL, CONFIG, f"*{PARTIAL}")
    with whole_folder(folder) as partial:
        shutil.copytree(parent, partial, ignore=own, dirs_exist_ok=True)


def link_folder(source: Path, target: Path) -> None:
    """Copy a folder by hard links where the file system has them, so that the copy needs no extra space.

    Args:
        source: the folder; nothing happens if it is gone.
        target: the copy; nothing happens if it exists.
    """
    if target.exists() or not source.exists():
        return
    with whole_folder(target) as partial:
        shutil.copytree(source, partial, copy_function=_link, dirs_exist_ok=True)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
