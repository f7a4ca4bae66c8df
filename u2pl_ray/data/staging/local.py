"""The data root as this process reads it: where it is, or the node's copy."""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import Lock

from u2pl_ray.config.data import DataConfig
from u2pl_ray.config.errors import LostError, UserError
from u2pl_ray.data.staging.copies import VARIABLE, node_copy
from u2pl_ray.data.staging.sources import source_of
from u2pl_ray.data.synthetic import cache_root
from u2pl_ray.system.mounts import file_system, in_memory, on_network
from u2pl_ray.system.stores import is_uri

Say = Callable[[str], None]

_READ = ("root", "images", "labels", "label_rename", "labeled", "unlabeled", "val", "test", "selection", "stage")
"""Settings that decide which files there are."""
_found: dict[tuple[object, ...], tuple[Path, int | None]] = {}
"""What this process reads, with the lock that keeps it. Until the process ends: a source that changes meanwhile does
not change under a training."""
_one_at_a_time = Lock()


def local_root(data: DataConfig, say: Say | None = None) -> Path:
    """Return the folder that a data set is read from on this machine; its copy is made if it is not there.

    Copied is what lies behind a URI, and what lies on a network file system if there is a local disk with room for it.
    The former cannot be read in place; where anything keeps the latter from being copied, it is.

    Args:
        data: `root` is an absolute path that exists, or a URI.
        say: takes lines on the progress; None: they go to stderr.

    Raises:
        UserError, LostError: see `node_copy`; for a URI only.
    """
    remote = is_uri(data.root)
    if not remote and (data.stage == "never" or not on_network(file_system(Path(data.root)))):
        return Path(data.root)
    key = tuple(getattr(data, name) for name in _READ)
    with _one_at_a_time:
        if key not in _found:
            _found[key] = _find(data, remote, say or _to_stderr)
        return _found[key][0]


def _find(data: DataConfig, remote: bool, say: Say) -> tuple[Path, int | None]:
    here, cache = Path(data.root), cache_folder()
    if cache is None and not remote:
        return here, None
    try:
        source = source_of(data, remote)
        copy, held = node_copy(source, cache or _usual(), say)
    except (UserError, LostError) as error:
        if remote:
            raise
        say(f"warning: {here} is read over the network ({error})")
        return here, None
    root = copy / source.root
    for name in map(os.path.expanduser, (data.images, data.labels)):  # asked for even where lists name files elsewhere
        if not os.path.isabs(name):
            Path(os.path.normpath(root / name)).mkdir(parents=True, exist_ok=True)
    return root, held


def cache_folder() -> Path | None:
    """Return the folder of this node's copies: U2PL_RAY_DATA_CACHE, else one on a local disk; None if there is none.

    That is the user's cache, or the system's temporary folder where the cache lies on a network file system, as home
    folders of clusters do. Memory (tmpfs) is no disk: a job has little of it.
    """
    if own := os.environ.get(VARIABLE):
        return Path(os.path.abspath(os.path.expanduser(own)))
    for folder in (_usual(), Path(tempfile.gettempdir()) / f"u2pl_ray_data_{os.getuid()}"):
        kind = file_system(folder)
        if not on_network(kind) and not in_memory(kind) and _ours(folder):
            return folder
    return None


def _ours(folder: Path) -> bool:
    """Return whether a folder is this user's or not there: in /tmp, another user could have put data into it."""
    try:
        return folder.stat().st_uid == os.getuid()
    except FileNotFoundError:
        return True


def _usual() -> Path:
    return cache_root() / "data"


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
