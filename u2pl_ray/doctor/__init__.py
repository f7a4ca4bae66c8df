"""What this machine and the cluster can do, and what is missing: `u2pl-ray doctor`."""

import os
import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from u2pl_ray.config.errors import LostError, UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.doctor.node import LIBRARIES, Finding
from u2pl_ray.system.limits import memory_limit, usable_cpus

_LEAST_SHM = 2**30

_SIGNS = {True: ("green", "ok"), None: ("yellow", "? "), False: ("red", "!!")}


def examine(
    config: str | None, overrides: Sequence[str], storage_path: str | None, every_node: bool = False
) -> list[str]:
    """Look at everything a training needs, print a line for each, and return the problems.

    Args:
        config: preset or file to check too, or None.
        overrides: of it.
        storage_path: folder or URI; None: the default storage.
        every_node: look at each node of the cluster (without one: of a Ray of this machine) and at what joins them.
    """
    console = Console(soft_wrap=True, highlight=False, emoji=False)
    problems: list[str] = []
    warnings = 0
    parts: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("software", _software),
        ("machine", _machine),
        ("cluster", _cluster),
        ("storage", lambda: _storage(storage_path)),
        ("W&B", _wandb),
    ]
    if every_node:
        parts.append(("nodes", lambda: _nodes(config, overrides, storage_path)))
    if config is not None:
        parts.append((config, lambda: _config(config, overrides)))
    for title, look in parts:
        console.print(f"[bold]{escape(title)}[/bold]")
        findings: list[Finding] = []
        try:
            findings += look()
        except (UserError, LostError) as error:  # of one part; the others may be well
            findings.append((False, str(error)))
        for well, line in findings:
            colour, sign = _SIGNS[well]
            console.print(f"  [{colour}]{sign}[/]  {escape(line)}")
            if well is False:
                problems.append(line)
            warnings += well is None
    found = f"{len(problems)} problem{'s' * (len(problems) != 1)} found" if problems else "all well"
    console.print(found + (f", {warnings} warning{'s' * (warnings != 1)}" if warnings else ""))
    return problems


def _software() -> Iterator[Finding]:
    yield True, f"Python {platform.python_version()}"
    for name in LIBRARIES:
        try:
            yield True, f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            yield False, f"{name} is not installed: pip install {name}"


def _machine() -> Iterator[Finding]:
    import torch

    cores, physical = os.cpu_count() or 1, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    usable, limit = usable_cpus(), memory_limit()
    of = "" if usable >= cores else f" of {cores} (affinity or control group)"
    memory = f"{min(limit or physical, physical) / 2**30:.0f} GiB"
    yield True, f"{usable}{of} CPU cores, {memory}{' (control group)' if limit and limit < physical else ''}"
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        precision = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
        yield True, f"GPU {index}: {properties.name}, {properties.total_memory / 2**30:.0f} GiB, train.amp={precision}"
    if not torch.cuda.is_available():
        yield True, "no GPU: trainings run on the CPU, which suits small images and networks only"
    shared = Path("/dev/shm")
    if shared.exists():
        free = shutil.disk_usage(shared).free
        yield (
            free >= _LEAST_SHM,
            f"/dev/shm has {free / 2**30:.1f} GiB free" + ("" if free >= _LEAST_SHM else ": loader workers need more"),
        )


def _cluster() -> Iterator[Finding]:
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        from u2pl_ray.search.cluster.connection import asked_cpus, check_temporary_folder

        yield True, "RAY_ADDRESS is not set: searches start Ray on this machine alone"
        check_temporary_folder()
        asked_cpus()
        return
    import ray

    from u2pl_ray.search.cluster.capacity import nodes
    from u2pl_ray.search.cluster.connection import connect

    connect()
    living = nodes()
    cpus, gpus = (sum(node.get(kind, 0) for node in living) for kind in ("CPU", "GPU"))
    yield True, f"{len(living)} nodes, {cpus:g} CPUs, {gpus:g} GPUs at {address} (Ray {ray.__version__})"


def _storage(storage_path: str | None) -> Iterator[Finding]:
    from u2pl_ray.search.storage.place import absolute, experiments, free_space, writable

    storage = absolute(storage_path)
    cramped = writable(storage)
    yield not cramped, f"{storage}: {free_space(storage)}" + ", less than a search may need" * bool(cramped)
    count = len(experiments(storage))
    yield True, f"{count} experiment{'s' * (count != 1)} in it"
    if os.environ.get("RAY_ADDRESS"):
        import ray

        from u2pl_ray.search.storage.reachability import unreached

        if ray.is_initialized():  # else that was a problem of the cluster's
            blind = unreached(storage)
            yield not blind, f"not seen from {', '.join(blind)}" if blind else "every node reaches it"


def _nodes(config: str | None, overrides: Sequence[str], storage_path: str | None) -> Iterator[Finding]:
    from u2pl_ray.config.overrides import load
    from u2pl_ray.doctor.cluster import examine_nodes
    from u2pl_ray.search.cluster.connection import connect
    from u2pl_ray.search.storage.place import absolute, writable

    connect()
    storage: str | None = absolute(storage_path)
    try:
        writable(storage or "")
    except UserError:  # a problem of the storage's
        storage = None
    yield from examine_nodes(storage, None if config is None else load(config, overrides))


def _wandb() -> Iterator[Finding]:
    mode = os.environ.get("WANDB_MODE")
    if mode:
        yield True, f"WANDB_MODE={mode}"
        return
    os.environ.setdefault("WANDB_SILENT", "true")  # or it prints the server's address
    import wandb

    try:
        found = wandb.login(prompt=False, verify=False)
    except Exception as error:  # the client's own kinds, which differ from version to version
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        yield False, f"WANDB_API_KEY is not a key ({said}): mend or unset it; until then runs are written offline"
        return
    yield (
        True,
        "a key was found: runs go online"
        if found
        else "no key: runs are written offline, `u2pl-ray wandb sync NAME` uploads them",
    )


def _config(name: str, overrides: Sequence[str]) -> Iterator[Finding]:
    from u2pl_ray.config.overrides import load
    from u2pl_ray.data.check import check
    from u2pl_ray.data.registry import resolve
    from u2pl_ray.models.segmentor import blank, check_model
    from u2pl_ray.train.preflight import preflight

    settings = load(name, overrides)
    epochs = settings.train.epochs
    yield True, f"{settings.method.name}, {epochs} epoch{'s' * (epochs != 1)}, workers={settings.workers}"
    try:
        settings = resolve(settings)
    except (UserError, LostError) as error:
        yield False, str(error)
        check_model(settings.model, settings.data.channels)
        return
    for warning in preflight(settings):
        yield None, warning
    shape = len(settings.data.classes), settings.method.contrasts, settings.data.channels
    network = blank(settings.model, *shape)
    size = sum(parameter.numel() for parameter in network.parameters())
    yield True, f"{settings.model.architecture} with {settings.model.encoder}: {size / 1e6:.1f} M parameters"
    report = check(settings, full=False)
    for line in report.lines()[: 1 + len(report.splits)]:
        yield True, line.strip()
    for warning in report.warnings:
        yield None, warning
    yield from _measured(settings)


def _measured(config: Config) -> Iterator[Finding]:
    """Say what a worker and a training take, by a few steps of one."""
    import torch

    from u2pl_ray.search.cluster.measuring import measure
    from u2pl_ray.search.experiment.estimate_text import remedies, shortage, training_lines
    from u2pl_ray.train.measurement import NotMeasured

    gpus = float(torch.cuda.device_count())
    if os.environ.get("RAY_ADDRESS", "local") not in ("", "local"):
        import ray

        if not ray.is_initialized():  # a problem of the cluster's
            return
        gpus = ray.cluster_resources().get("GPU", 0.0)
    device = config.resources.device
    try:
        found = measure(config, device == "cuda" or (device == "auto" and gpus > 0), 1, lambda line: None)
    except NotMeasured as error:
        yield None, f"not measured: {error}{f'; {remedies(config)}' if error.memory else ''}"
        return
    yield from ((True, f"{name}: {text}") for name, text in training_lines(config, found))
    if short := shortage(config, found, 1):
        yield None, short
