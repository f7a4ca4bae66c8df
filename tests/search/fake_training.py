"""Trainings without a model, for tests of the search: a curve computed from the configuration.

`alpha.end` chooses an accident: 0.91 raises, 0.92 diverges, 0.93 runs out of memory, 0.94 ends early, 0.95 reports NaN.
"""

import base64
import io
import json
import math
import os
import time
from pathlib import Path
from typing import Any

from u2pl_ray.config.schema import Config
from u2pl_ray.train.errors import NonFiniteLoss, Preempted

RAISES, DIVERGES, TOO_LARGE, ENDS_EARLY, REPORTS_NAN = 0.91, 0.92, 0.93, 0.94, 0.95


def miou(config: Config, epoch: int) -> float:
    """Best at temperature 0.5, and rising with the epochs; a seed other than 0 adds noise of its own."""
    temperature = config.method.contrastive.temperature
    distance = abs(math.log(temperature / 0.5))
    noise = 0.01 * math.sin(config.seed * (12.9898 + temperature))
    return (1.0 - math.exp(-3.0 * epoch / config.train.epochs)) * math.exp(-distance) * 0.8 + noise


class PlainTraining:
    """Trains in the trial's own process; keeps the epochs done in `<storage_path>/<name>/state.json`."""

    def __init__(
        self, config: Config, storage_path: str, name: str, callbacks: list[Any], reported_epochs: int
    ) -> None:
        self.config, self.callbacks, self.reported = config, callbacks, reported_epochs
        self.state = Path(storage_path) / name / "state.json"

    def fit(self) -> None:
        """Train; an epoch takes FAKE_EPOCH_SECONDS."""
        done = json.loads(self.state.read_text()) if self.state.exists() else 0
        for epoch in range(self.reported + 1, done + 1):
            self._report(epoch)
        for epoch in range(done + 1, self.config.train.epochs + 1):
            time.sleep(float(os.environ.get("FAKE_EPOCH_SECONDS", "0.01")))
            self._accident(epoch)
            if self.config.method.alpha.end == ENDS_EARLY and epoch == 2:
                return
            self._store(epoch)
            self._report(epoch)

    def _store(self, epoch: int) -> None:
        """Whole or not at all, as checkpoints are: the process may be killed at any instant."""
        self.state.parent.mkdir(parents=True, exist_ok=True)
        partial = self.state.with_suffix(".partial")
        partial.write_text(str(epoch))
        partial.replace(self.state)

    def _accident(self, epoch: int) -> None:
        end = self.config.method.alpha.end
        if end == TOO_LARGE:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        if end == RAISES and epoch == 2:
            raise ValueError("something in the training broke")
        if end == DIVERGES and epoch == 2:
            raise NonFiniteLoss("the training loss is nan in epoch 2")

    def _report(self, epoch: int) -> None:
        not_a_number = self.config.method.alpha.end == REPORTS_NAN and epoch == 2
        metrics = {
            "training_iteration": epoch,
            "val/miou": math.nan if not_a_number else miou(self.config, epoch),
            "val/iou/none": math.nan,
            "diag/entropy/hist": [1, 2, 3],
        }
        for callback in self.callbacks:
            callback.after_report(None, [metrics], None)


def build_plain(**arguments: Any) -> PlainTraining:
    """Like `u2pl_ray.train.launch.build_trainer`."""
    return PlainTraining(**arguments)


class SlowTraining(PlainTraining):
    """Takes long enough to be killed; reports the process it runs in."""

    def _report(self, epoch: int) -> None:
        time.sleep(float(os.environ.get("FAKE_EPOCH_SECONDS", "0.1")))
        metrics = {"training_iteration": epoch, "val/miou": miou(self.config, epoch), "process": os.getpid()}
        for callback in self.callbacks:
            callback.after_report(None, [metrics], None)


class FullTraining(PlainTraining):
    """Reports what a real training does: diagnostics, histograms, a confusion matrix, images."""

    def _report(self, epoch: int) -> None:
        value = miou(self.config, epoch)
        metrics = {
            "training_iteration": epoch,
            "val/miou": value,
            "val/iou/none": math.nan,
            "val/confusion": [[90, 10, 0, 0], [epoch, 100, 0, 0], [0, 0, 5, 0], [0, 0, 0, 0]],
            "diag/alpha": 0.2 / epoch,
            "diag/gamma": 1.0 / epoch,
            "diag/reliable_fraction": 0.8,
            "diag/bank/fill/background": 10.0 * epoch,
            "diag/bank/pushed/background": 5.0,
            "diag/bank/key_age/background": 1.5,
            "diag/entropy/max": math.log(2),
            "diag/entropy/hist": [epoch, 2, 3],
            "diag/entropy/hist_right": [epoch, 1, 1],
            "diag/entropy/hist_wrong": [0, 1, 2],
        }
        if epoch % 3 == 0:
            metrics["image_data"] = _pictures(epoch)
        for callback in self.callbacks:
            callback.after_report(None, [metrics], None)


def _pictures(epoch: int) -> dict[str, str]:
    import numpy as np
    from PIL import Image

    maps = {"val.0.a": ("truth", "prediction"), "unlabeled.0.b": ("truth", "pseudo_label", "reliable")}
    files: dict[str, str] = {}
    for stem, kinds in maps.items():
        for name in (f"{stem}.image.jpg", *(f"{stem}.{kind}.png" for kind in kinds)):
            target = io.BytesIO()
            kind = "JPEG" if name.endswith("jpg") else "PNG"
            Image.fromarray(np.full((6, 8), epoch % 2, np.uint8)).save(target, kind)
            files[name] = base64.b64encode(target.getvalue()).decode()
    return files


def build_full(**arguments: Any) -> FullTraining:
    """Like `u2pl_ray.train.launch.build_trainer`."""
    return FullTraining(**arguments)


class FatalTraining(PlainTraining):
    """Takes its process with it."""

    def fit(self) -> None:
        os.kill(os.getpid(), 9)


def build_slow(**arguments: Any) -> SlowTraining:
    """Like `u2pl_ray.train.launch.build_trainer`."""
    return SlowTraining(**arguments)


def build_fatal(**arguments: Any) -> FatalTraining:
    """Like `u2pl_ray.train.launch.build_trainer`."""
    return FatalTraining(**arguments)


class StoredTraining(PlainTraining):
    """Keeps the epochs done below the storage's URI, as a checkpoint would be."""

    def __init__(self, storage_path: str, name: str, **arguments: Any) -> None:
        from u2pl_ray.search.storage.object_store import Objects

        super().__init__(storage_path=storage_path, name=name, **arguments)
        self.state = ObjectFile(Objects(storage_path), f"{name}/state.json")  # type: ignore[assignment]

    def _store(self, epoch: int) -> None:
        self.state.write_text(str(epoch))


class ObjectFile:
    """As much of a path as `PlainTraining` uses."""

    def __init__(self, objects: Any, name: str) -> None:
        self._objects, self._name = objects, name
        self.parent = Path("/tmp")

    def exists(self) -> bool:
        return self._objects.exists(self._name)

    def read_text(self) -> str:
        return self._objects.read(self._name).decode()

    def write_text(self, text: str) -> None:
        self._objects.write(self._name, text.encode())


def build_stored(**arguments: Any) -> StoredTraining:
    """Like `u2pl_ray.train.launch.build_trainer`."""
    return StoredTraining(**arguments)


def torch_worker(arguments: dict[str, Any]) -> None:
    """A data-parallel worker without a model: the curve, a checkpoint an epoch, a process group that works."""
    import tempfile

    import ray
    import torch
    from ray import train

    from u2pl_ray.train.launch import RaySession

    config = Config.model_validate(arguments["config"])
    history: list[dict[str, Any]] = []
    if (latest := train.get_checkpoint()) is not None:
        with latest.as_directory() as folder:
            history = json.loads((Path(folder) / "history.json").read_text())
    done = len(history)
    where = train.get_context().get_storage().experiment_fs_path
    trial, rank_0 = Path(where).parent, train.get_context().get_world_rank() == 0
    attempt = len(list(trial.glob("started_*"))) + 1 if trial.exists() else 1
    torch.distributed.barrier()
    if rank_0 and trial.exists():
        (trial / f"started_{attempt}").write_text(str(done))
    session = RaySession(60 * config.resources.wait_minutes)
    for past in history[arguments["reported_epochs"] :]:
        session.report(past, None, None)
    for epoch in range(done + 1, config.train.epochs + 1):
        time.sleep(float(os.environ.get("FAKE_EPOCH_SECONDS", "0.3")))
        total = torch.ones(1)
        torch.distributed.all_reduce(total)
        if config.method.alpha.end == TOO_LARGE:
            torch.empty(1 << 60)
        if config.method.alpha.end == DIVERGES and epoch == 2:
            raise NonFiniteLoss("the training loss is nan in epoch 2")
        metrics = {
            "training_iteration": epoch,
            "val/miou": miou(config, epoch),
            "workers": total.item(),
            "process": os.getpid(),
            "node": ray.get_runtime_context().get_node_id(),
            "attempt": attempt,
        }
        with tempfile.TemporaryDirectory() as folder:
            history.append(metrics)
            (Path(folder) / "state.json").write_text(str(epoch))
            (Path(folder) / "history.json").write_text(json.dumps(history))
            session.report(metrics, Path(folder) if rank_0 else None, f"epoch_{epoch:05d}")
        if session.leaving() and epoch < config.train.epochs:
            raise Preempted("left")


def build_torch(
    config: Config, storage_path: str, name: str, callbacks: list[Any], reported_epochs: int, **more: Any
) -> Any:
    """Like `u2pl_ray.train.launch.build_trainer`, with Ray Train's own processes."""
    from u2pl_ray.train.launch import build_trainer

    trainer = build_trainer(config, storage_path, name, callbacks, reported_epochs)
    trainer.train_loop_per_worker = torch_worker
    return trainer


def build_dying(storage_path: str, **arguments: Any) -> Any:
    """The same; a worker dies in the middle of setting up the process group of the trial's first attempt."""
    from ray.train.torch import TorchConfig
    from ray.train.torch.config import _TorchBackend

    marker = Path(storage_path) / "died"

    class Backend(_TorchBackend):
        def on_start(self, worker_group: Any, backend_config: Any) -> None:
            if not marker.exists():
                marker.touch()
                worker_group.execute_single(0, os._exit, 1)
            super().on_start(worker_group, backend_config)

    class Dying(TorchConfig):
        @property
        def backend_cls(self) -> Any:
            return Backend

    trainer = build_torch(storage_path=storage_path, **arguments)
    trainer.backend_config = Dying(backend="gloo")
    return trainer
