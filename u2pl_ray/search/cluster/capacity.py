"""Compute how many trials a cluster runs at once, with the arithmetic that `--dry-run` and refusals print."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.train.launch import uses_gpu, worker_resources

TRIAL_MEMORY = 2**30
"""Bytes of Ray's `memory` for a trial's processes beside its workers: its own, Ray Train's controller and helpers were
measured at 1.1 GB together. They get no CPU or GPU, as the workers may need them all."""


_EPS = 1e-9
_ASK_SECONDS = 5.0
_ROOM_SECONDS = 5.0
"""Seconds until Ray reports the resources of a lost process as free."""


@dataclass(frozen=True)
class Fit:
    """Result of `fit`.

    Attributes:
        concurrent: number of trials at once.
        gpu: whether workers get GPUs.
        arithmetic: one line that shows how `concurrent` was computed.
    """

    concurrent: int
    gpu: bool
    arithmetic: str


def nodes() -> list[Mapping[str, float]]:
    """Return the total resources of every living node of the connected cluster."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def check_growth(config: Config, max_concurrent: int | None) -> None:
    """Check the settings that a search needs on a cluster that adds nodes on demand.

    Args:
        config: must say whether workers need GPUs.
        max_concurrent: must be given: it limits how far the cluster grows.

    Raises:
        UserError: one of the two is missing.
    """
    if max_concurrent is None:
        raise UserError("--autoscale: say with --max-concurrent for how many trials at once the cluster shall grow")
    if config.resources.device == "auto":
        raise UserError("--autoscale: nodes that are not there yet do not show GPUs; set resources.device=cuda or cpu")


def fit(
    config: Config,
    cluster: Sequence[Mapping[str, float]],
    max_concurrent: int | None = None,
    autoscale: bool = False,
) -> Fit:
    """Compute how many trials of `config` the cluster runs at once.

    Args:
        config: names the workers of every trial and their resources.
        cluster: total resources of each node, from `nodes`.
        max_concurrent: upper limit, or None.
        autoscale: the cluster adds nodes on demand: `max_concurrent` trials are started whatever fits now, and what
            their workers wait for is what its autoscaler sees.

    Raises:
        UserError: one trial does not fit, or the limit is not positive.
    """
    if max_concurrent is not None and max_concurrent < 1:
        raise UserError(f"--max-concurrent {max_concurrent}: give at least 1")
    gpus = sum(node.get("GPU", 0.0) for node in cluster)
    device = config.resources.device
    gpu = gpus > 0 if device == "auto" else device == "cuda"
    worker = worker_resources(config, gpu)
    slots = [min(_times(node.get(name, 0.0), amount) for name, amount in worker.items()) for node in cluster]
    need = " + ".join(f"{amount:g} {name}" for name, amount in worker.items())
    loaders = config.data.loader_workers
    if loaders:
        need += f" ({config.resources.cpus_per_worker:g} CPU to train, {loaders} for loader processes)"
    have = ", ".join(
        " + ".join(f"{node.get(name, 0.0):g} {name}" for name in worker) + f" -> {slot}"
        for node, slot in zip(cluster, slots, strict=True)
    )
    workers = max((count for count in config.worker_counts if count <= sum(slots)), default=config.worker_counts[-1])
    arithmetic = (
        f"a trial is {config.workers} worker{'s' * (config.most_workers > 1)} of {need}; "
        f"{sum(slots)} worker{'s' * (sum(slots) != 1)} fit on {len(cluster)} node{'s' * (len(cluster) != 1)} "
        f"({have or 'none'}): {sum(slots)} // {workers}"
    )
    concurrent = sum(slots) // workers
    if concurrent < 1 and not autoscale:
        smaller = "resources.cpus_per_worker" + ", data.loader_workers" * (loaders > 0)
        raise UserError(
            f"workers={config.workers} does not fit this cluster: {arithmetic} = 0 trials; use fewer workers, smaller "
            f"{smaller} or resources.gpus_per_worker, or a larger cluster"
        )
    arithmetic += f" = {concurrent} trial{'s' * (concurrent != 1)} at once"
    if autoscale and max_concurrent is not None:
        return Fit(max_concurrent, gpu, f"{arithmetic} now; the autoscaler is asked for room for {max_concurrent}")
    memory, mebibytes = int(sum(node.get("memory", 0.0) // TRIAL_MEMORY for node in cluster)), TRIAL_MEMORY >> 20
    if memory < 1:
        raise UserError(f"no node of this cluster offers {mebibytes} MiB of Ray's memory resource to a trial")
    if memory < concurrent:
        concurrent, arithmetic = memory, f"{arithmetic}, of which {memory} find {mebibytes} MiB for their process"
    if max_concurrent is not None and max_concurrent < concurrent:
        concurrent, arithmetic = max_concurrent, f"{arithmetic}, limited to {max_concurrent} by --max-concurrent"
    return Fit(concurrent, gpu, arithmetic)


def workers_with_room(config: Config, ceiling: int | None = None) -> int:
    """Choose the number of workers of a training: the most that its configuration allows and the cluster has free.

    Args:
        config: the training's.
        ceiling: a count that did not fit; the next smaller one is taken, and after the smallest the largest again.
    """
    import ray

    counts = config.worker_counts
    below = [count for count in counts if ceiling is None or count < ceiling]
    if len(counts) == 1 or not below:
        return counts[0]
    patience = time.monotonic() + _ROOM_SECONDS
    while True:
        free = ray.available_resources()
        worker = worker_resources(config, uses_gpu(config))
        slots = min(_times(free.get(name, 0.0), amount) for name, amount in worker.items())
        if slots >= below[0] or time.monotonic() > patience:
            return max((count for count in below if count <= slots), default=below[-1])
        time.sleep(0.2)


class Slots:
    """Number of trials that the connected cluster can run at present; it changes as nodes join and leave.

    Args:
        config, max_concurrent, autoscale: see `fit`.
        tell: called with a line for the user when the number changes.

    Attributes:
        gpu: whether workers get GPUs.

    Raises:
        UserError: no trial fits at the start. (A cluster that becomes too small later is waited for.)
    """

    def __init__(
        self,
        config: Config,
        max_concurrent: int | None,
        tell: Callable[[str], None],
        autoscale: bool = False,
    ) -> None:
        self._config, self._max, self._tell, self._autoscale = config, max_concurrent, tell, autoscale
        room = fit(config, nodes(), max_concurrent, autoscale)
        self._count, self.gpu = room.concurrent, room.gpu
        self._asked = time.monotonic()

    def __getstate__(self) -> dict[str, Any]:
        """Return an empty state: Tune pickles its searcher into a snapshot that is never used."""
        return {}

    def __call__(self) -> int:
        """Return the number of trials, at least 1."""
        if time.monotonic() - self._asked > _ASK_SECONDS:
            self._asked = time.monotonic()
            try:
                room = fit(self._config, nodes(), self._max, self._autoscale)
                count, why = room.concurrent, room.arithmetic
            except UserError as error:
                count, why = 1, str(error)
            if count != self._count:
                self._tell(f"trials at once: {self._count} -> {count}; {why}")
                self._count = count
        return self._count


def _times(offered: float, amount: float) -> int:
    """Compute how often an amount of a resource fits a node. A fraction of a GPU must come from one GPU."""
    if amount < 1:
        return int(offered + _EPS) * int(1 / amount + _EPS) + int(offered % 1 / amount + _EPS)
    return int(offered / amount + _EPS)


def devices(config: Config, gpu: bool) -> float:
    """Return the devices of a trial that `--gpu-hours` counts.

    Args:
        config: of the trial.
        gpu: whether to count GPUs; otherwise each worker counts as one.
    """
    return config.most_workers * (config.resources.gpus_per_worker if gpu else 1.0)
