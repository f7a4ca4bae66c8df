"""What one node of a cluster is: the actor that looks, and what it finds."""

import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

from u2pl_ray.config.errors import LostError, UserError
from u2pl_ray.config.schema import Config, DataConfig
from u2pl_ray.system.stores import is_uri

LIBRARIES = ("torch", "torchvision", "segmentation-models-pytorch", "ray", "optuna", "wandb", "albumentations")
Finding = tuple[bool | None, str]
"""Whether it is well (None: worth a look, and no reason not to start), and what it is, in one line."""

_SAMPLE = 32
"""Files of a data set whose content is compared."""
_ABSENT = "not installed"


@dataclass(frozen=True)
class Gpu:
    """A GPU as its driver describes it."""

    name: str
    memory: int
    """MiB."""
    driver: str


@dataclass(frozen=True)
class Node:
    """What a node is.

    Attributes:
        software: versions by name; of this package a hash of its files too, as a version says little.
        gpus: as the driver lists them.
        cuda: torch's CUDA version; empty where torch sees no GPU.
        cores: CPU cores that a process may use.
        memory: bytes that a process may use.
        disk: free bytes where temporary files go.
        shared: free bytes of /dev/shm; None where there is none.
        data: what was compared of the data set, hash by name; what cannot be used has its error instead.
    """

    software: dict[str, str]
    gpus: tuple[Gpu, ...]
    cuda: str
    cores: int
    memory: int
    disk: int
    shared: int | None
    data: dict[str, str]


class Look:
    """Actor on a node. Its methods may raise what goes wrong there."""

    def describe(self, config: dict[str, Any] | None) -> Node:
        """Return what this node is.

        Args:
            config: the configuration whose data set to look at, as JSON; None: of no data set.
        """
        import torch

        from u2pl_ray.system.limits import memory_limit, usable_cpus

        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        shared = Path("/dev/shm")
        return Node(
            software={"Python": platform.python_version(), **dict(_versions()), "u2pl_ray's files": source()},
            gpus=gpus(),
            cuda=(torch.version.cuda or "") if torch.cuda.is_available() else "",
            cores=usable_cpus(),
            memory=min(memory_limit() or physical, physical),
            disk=shutil.disk_usage(tempfile.gettempdir()).free,
            shared=shutil.disk_usage(shared).free if shared.exists() else None,
            data={} if config is None else data(Config.model_validate(config)),
        )

    def now(self) -> float:
        """Return this node's clock, in seconds since 1970."""
        return time.time()

    def write(self, storage: str, name: str) -> None:
        """Write a file that holds its own name.

        Args:
            storage: a folder or URI.
            name: of the file.
        """
        from u2pl_ray.search.storage.object_store import Objects

        if is_uri(storage):
            Objects(storage).write(name, name.encode())
        else:
            (Path(storage) / name).write_text(name)

    def reads(self, storage: str, name: str) -> bool:
        """Tell whether a file is there that holds its own name; see `write`."""
        from u2pl_ray.search.storage.object_store import Objects

        if is_uri(storage):
            return Objects(storage).read(name) == name.encode()
        path = Path(storage) / name
        return path.exists() and path.read_text() == name


def _versions() -> Iterator[tuple[str, str]]:
    for name in LIBRARIES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, _ABSENT


def source() -> str:
    """Return a hash of this package's Python files."""
    package, digest = Path(__file__).parents[1], sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(f"{file.relative_to(package)}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def gpus() -> tuple[Gpu, ...]:
    """List this machine's GPUs as NVIDIA's driver does; none where its tool is missing or fails."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [[cell.strip() for cell in line.rsplit(",", 2)] for line in said.splitlines() if line.count(",") >= 2]
    return tuple(Gpu(name, int(memory) if memory.isdigit() else 0, driver) for name, memory, driver in rows)


def data(config: Config) -> dict[str, str]:
    """Return hashes of a configuration's split files, and of a sample of the files that they name.

    Nothing is copied: of data on an object store the names, sizes and times are compared instead. An entry that cannot
    be read has its error as value.
    """
    from u2pl_ray.data.registry import resolve
    from u2pl_ray.data.voc import SPLITS, listed

    section = config.data
    if section.dataset == "voc" and is_uri(section.root):
        return {"data.root": stored(section)}
    try:
        section = resolve(config.model_copy(update={"data": section.model_copy(update={"stage": "never"})})).data
    except UserError as error:
        return {"data.root": str(error)}
    found = {}
    for split in SPLITS:
        if (name := getattr(section, split)) is None:
            continue
        try:
            items = listed(section, split, labels=False)
            found[f"data.{split}={name}"] = _hash(Path(section.root) / os.path.expanduser(name))
            files = [file for item in items for file in (item.image, item.label) if file is not None]
            found[f"the files of data.{split}"] = f"{len(files)} files, {_hash(*files[:: -(-len(files) // _SAMPLE)])}"
        except (UserError, OSError) as error:
            found[f"data.{split}={name}"] = str(error)
    return found


def stored(section: DataConfig) -> str:
    """Return what a node sees of a data set on an object store, or its error, in a line."""
    from u2pl_ray.data.staging.copies import digest, size_of
    from u2pl_ray.data.staging.sources import StoreSource

    try:
        files = StoreSource(section).files()
    except (UserError, LostError) as error:
        return str(error)
    return f"{size_of(files)}, {digest(section.root, files)}"


def _hash(*files: Path) -> str:
    digest = sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
