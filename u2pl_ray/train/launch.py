"""Ray Train around the worker loop: processes, devices, storage, and where reports and checkpoints go."""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from u2pl_ray.config.schema import Config
from u2pl_ray.train.session import Metrics
from u2pl_ray.train.watchdog import Watchdog

# Ray polls its workers every 2 s by default, which is when reports arrive: the largest cost of short epochs.
_POLL_SECONDS = "0.25"

_CONSUMED_SECONDS = 1.0
"""Until the controller has surely taken the last report, and registered its checkpoint."""

_PATIENCE = (1.0, 4.0, 15.0, 30.0)
"""Seconds between attempts to store a checkpoint."""

PROGRESS_ACTOR = "u2pl_ray_progress"
"""Name of an actor that hears of the workers: it has the methods `say`, `waits` and `ended`."""

WORKER_ENVIRONMENT = {
    # glibc returns freed activations to the system and faults them in again at every step: page faults dominate CPU
    # training unless large blocks stay in the heap.
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "NO_ALBUMENTATIONS_UPDATE": "1",
}


class RaySession:
    """A Ray Train worker's `Session`.

    Args:
        patience: seconds that one wait may take.

    Attributes:
        watchdog: of this process.
    """

    def __init__(self, patience: float) -> None:
        from ray import train

        context = train.get_context()
        self.rank: int = context.get_world_rank()
        self.world_size: int = context.get_world_size()
        self._trial = Path(context.get_storage().experiment_fs_path).parent.name
        self._name = f"worker {self.rank}" if self.world_size > 1 else "its worker"
        self.watchdog = Watchdog(patience, self._tell, self._end)

    def report(self, metrics: Metrics, checkpoint: Path | None, name: str | None) -> None:
        """See `Session`; Ray copies the folder to the run's storage and waits for that."""
        from ray import train

        stored = None if checkpoint is None else train.Checkpoint.from_directory(str(checkpoint))
        train.report(metrics, checkpoint=stored, checkpoint_dir_name=name, checkpoint_upload_fn=self._upload)

    def _upload(self, checkpoint: Any, name: str) -> Any:
        """Ray's own upload, tried again while the storage does not take it."""
        from ray import train

        storage = train.get_context().get_storage()
        for wait in _PATIENCE:
            try:
                return storage.persist_current_checkpoint(checkpoint, name)
            except OSError as error:
                self.progress(f"{name} was not stored, trying again in {wait:g} s ({error})")
                time.sleep(wait)
        return storage.persist_current_checkpoint(checkpoint, name)

    @contextmanager
    def checkpoint(self) -> Iterator[Path | None]:
        """See `Session`."""
        from ray import train

        latest = train.get_checkpoint()
        if latest is None:
            yield None
        else:
            with latest.as_directory() as folder:
                yield Path(folder)

    def progress(self, line: str) -> None:
        """See `Session`: tells the actor named `PROGRESS_ACTOR`, if whoever started the training has one."""
        import ray

        with suppress(Exception):  # nobody listens
            ray.get_actor(PROGRESS_ACTOR).say.remote(f"{self._trial} {line}")

    def waiting(self, what: str, limit: float | None = None) -> None:
        """See `Session`."""
        self.watchdog.at(what, limit)

    def _tell(self, what: str, seconds: float) -> None:
        """Tell the actor named `PROGRESS_ACTOR` what this worker waits for; that it lives, if for nothing."""
        import ray

        ray.get_actor(PROGRESS_ACTOR).waits.remote(self._trial, self._name, what, seconds)

    def _end(self, why: str) -> None:
        """Tell the same actor why this process ends itself; it has heard it when this returns."""
        import ray

        ray.get(
            ray.get_actor(PROGRESS_ACTOR).ended.remote(self._trial, f"{self._name} {why}"), timeout=_CONSUMED_SECONDS
        )

    def node_progress(self, line: str) -> None:
        """Say how the copy of the data to this node goes on; one of its workers says it for all."""
        from ray import train

        self.waiting("the data to be copied to its node")
        if train.get_context().get_local_rank() == 0:
            self.progress(line)

    def leaving(self) -> bool:
        """See `Session`: Ray hears of a node that is drained, and until when it lives."""
        from ray import train

        if os.environ.get("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER") == "0" or train.get_preemption_info() is None:
            return False
        time.sleep(_CONSUMED_SECONDS)
        return True


def train_worker(arguments: dict[str, Any]) -> None:
    """What every Ray Train worker runs: `arguments` holds the resolved `config`, `reported_epochs` and `start`."""
    import torch
    from ray.train.torch import get_device

    from u2pl_ray.data.registry import resolve
    from u2pl_ray.train.loop import Worker

    config = Config.model_validate(arguments["config"])
    torch.set_num_threads(max(1, int(config.resources.cpus_per_worker)))
    logging.getLogger("torch.nn.parallel").setLevel(logging.ERROR)
    start = arguments["start"]
    session = RaySession(60 * config.resources.wait_minutes)
    with session.watchdog.watching():
        # Resolved again: the generated set, or the copy of a remote one, may not be on this machine yet.
        worker = Worker(resolve(config, session.node_progress), session, get_device())
        worker.run(arguments["reported_epochs"], None if start is None else Path(start))


def uses_gpu(config: Config) -> bool:
    """Whether each worker gets a GPU: as configured, or (auto) if the connected cluster has any."""
    import ray

    if config.resources.device != "auto":
        return config.resources.device == "cuda"
    return ray.cluster_resources().get("GPU", 0) > 0


def worker_resources(config: Config, gpu: bool) -> dict[str, float]:
    """What one worker takes from the cluster, in Ray's terms: CPUs for itself and for its loader processes."""
    resources = {"CPU": float(config.resources.cpus_per_worker + config.data.loader_workers)}
    if gpu:
        resources["GPU"] = float(config.resources.gpus_per_worker)
    return resources


def build_trainer(
    config: Config,
    storage_path: str,
    name: str,
    callbacks: Sequence[Any] = (),
    reported_epochs: int = 0,
    start: str | None = None,
) -> Any:
    """A `TorchTrainer` for one training; `fit()` on the same storage_path and name continues from its checkpoints.

    Args:
        config: resolved configuration.
        storage_path: folder (or URI) that every node reaches; checkpoints go to `<storage_path>/<name>/`.
        name: the run's name below it.
        callbacks: Ray Train `UserCallback`s.
        reported_epochs, start: see `Worker.run`.
    """
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", _POLL_SECONDS)
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from u2pl_ray.train.process_group import NodeTorchConfig

    gpu = uses_gpu(config)
    return TorchTrainer(
        train_worker,
        train_loop_config={
            "config": config.model_dump(mode="json"),
            "reported_epochs": reported_epochs,
            "start": start,
        },
        torch_config=NodeTorchConfig(
            backend="nccl" if gpu else "gloo", timeout_s=max(1, round(60 * config.resources.wait_minutes))
        ),
        scaling_config=ScalingConfig(
            num_workers=config.most_workers, use_gpu=gpu, resources_per_worker=worker_resources(config, gpu)
        ),
        run_config=RunConfig(
            name=name,
            storage_path=storage_path,
            callbacks=list(callbacks),
            checkpoint_config=CheckpointConfig(num_to_keep=config.train.keep_checkpoints),
            # Each is raised to whoever started the training, and decided there: see `search/execution/failures.py`.
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=0, max_preemption_failures=0),
            worker_runtime_env={"env_vars": dict(WORKER_ENVIRONMENT)},
        ),
    )
