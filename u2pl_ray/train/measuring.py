"""One worker of a training that is only measured: the process that `train.measurement` starts.

It builds what a worker builds (`loop.Worker`), from the same configuration and data, and takes real steps with a full
memory bank. Line by line on stdin it gets a request as JSON, then a word to begin; on stdout it says `ready`, then
seconds and bytes as JSON.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice
from multiprocessing import active_children
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from u2pl_ray.config import metrics as names
from u2pl_ray.config.schema import Config
from u2pl_ray.data.loaders import TrainingBatch
from u2pl_ray.data.registry import resolve
from u2pl_ray.method.memory_bank import MemoryBank, normalize_
from u2pl_ray.system.limits import memory_limit
from u2pl_ray.system.scratch import scratch
from u2pl_ray.train import checkpoint as checkpoints
from u2pl_ray.train.diagnostics import Diagnostics
from u2pl_ray.train.evaluate import confusion
from u2pl_ray.train.loop import Worker
from u2pl_ray.train.session import LocalSession

_DROPPED = 2
"""First steps that are not counted: memory is taken, kernels are chosen, the network is compiled."""
_LEAST, _MOST = 4, 30
"""Steps that are counted."""
_ENOUGH, _LONG = 4.0, 20.0
"""Seconds after which there are enough steps, if they are `_LEAST`; and whatever they are."""
_VALIDATION = 4.0
"""Seconds after which no further validation batch is taken."""
_BLOCK = 5
"""Steps on a GPU between two looks at the clock, each of which waits for the GPU."""
_SLICE = 4096

T = TypeVar("T")


class Measured:
    """A worker whose steps are timed.

    Args:
        config: resolved.
        rank: of this worker.
        world_size: workers of the training; the process group is there.
        device: of this worker.
    """

    def __init__(self, config: Config, rank: int, world_size: int, device: torch.device) -> None:
        if config.method.contrasts:  # a network that has learned nothing is sure of no pixel, and has no anchors
            contrastive = config.method.contrastive.model_copy(update={"anchor_threshold": 0.0})
            config = config.model_copy(update={"method": config.method.model_copy(update={"contrastive": contrastive})})
        self._worker = Worker(config, LocalSession(rank=rank, world_size=world_size), device)
        self._config, self._device = config, device

    def results(self) -> dict[str, Any]:
        """Take the steps, validate, draw, write a checkpoint; return what `Measurement` has of one worker."""
        worker, method = self._worker, self._config.method
        epochs = self._config.train.epochs
        found: dict[str, Any] = {"steps": worker.steps, "warmup": [], "main": [], "first": 0.0, "images": 0.0}
        metrics: dict[str, Any] = {}
        if method.warmup_epochs or not method.semi_supervised:
            found["warmup"], first, metrics = self._steps(0, warming_up=method.warmup_epochs > 0)
            found["first"] += first
        if method.semi_supervised:
            _fill(worker.objective)
            found["main"], first, metrics = self._steps(method.warmup_epochs, warming_up=False)
            found["first"] += first
        found["validation"], found["validated"] = self._validate()
        began = time.perf_counter()
        drawn = sum(worker.images.due(epoch) for epoch in range(1, epochs + 1))
        if drawn:
            metrics[names.EPOCH] = epochs
            worker.images.draw(worker.student, worker.teacher.module, worker.objective, metrics, self._device)
            found["images"] = (time.perf_counter() - began) * drawn / epochs
        began = time.perf_counter()
        with scratch() as folder:
            checkpoints.save(folder, worker.state())
        found["checkpoint"] = time.perf_counter() - began
        return found | self._memory()

    def _steps(self, epoch: int, warming_up: bool) -> tuple[list[float], float, dict[str, Any]]:
        """Time the steps of an epoch: seconds of each, the extra seconds of the first, the diagnostics."""
        worker, data = self._worker, self._worker.train_data
        unlabeled = self._config.method.semi_supervised and not warming_up
        loaders = self._config.data.loader_workers
        dropped = _DROPPED + 2 * loaders  # what loader processes have prepared by then is used up
        if not loaders:  # from the second epoch on images come from memory, if they fit there
            for _ in islice(data.epoch(epoch, unlabeled=unlabeled), dropped + _LEAST):
                pass
        start = 0 if data.cache.holds_all else min(dropped + _LEAST, worker.steps // 2)
        batches = chain(data.epoch(epoch, start_step=start, unlabeled=unlabeled), _again(data, epoch, unlabeled))
        forward, diagnostics = worker.forward.student(warming_up), Diagnostics(worker.classes, self._device)
        worker.student.train()

        def take(count: int) -> float:
            began = time.perf_counter()
            for loaded in islice(batches, count):
                diagnostics.add(*worker.step(epoch * worker.steps, loaded, forward))
            self._wait()
            return time.perf_counter() - began

        first = self._agreed(take(1))
        took, passed = 0.0, 1
        while passed < dropped and took < _ENOUGH and first < _ENOUGH:
            took += self._agreed(take(1))
            passed += 1
        block = _BLOCK if self._device.type == "cuda" else 1
        times: list[float] = []
        began = time.perf_counter()
        while len(times) * block < _MOST:
            times.append(take(block) / block)
            took = self._agreed(time.perf_counter() - began)
            if took > _LONG or (took > _ENOUGH and len(times) * block >= _LEAST):
                break
        usual = sorted(times)[len(times) // 2]
        return times, max(0.0, first - usual), diagnostics.read(worker.collectives)

    def _agreed(self, seconds: float) -> float:
        """The longest of all workers' times, so that all go on or stop."""
        gathered = self._worker.collectives.gather(torch.tensor([seconds], device=self._device))
        return float(gathered[0].max())

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _validate(self) -> tuple[float, float]:
        """Seconds of a whole validation of both networks, and the share of it that was measured."""
        worker = self._worker
        models = [worker.student, worker.teacher.module]
        total, images, seconds = worker.val_data.images, 0, 0.0
        for _ in range(2):  # the second time images come from memory, as from the second epoch on
            images, began = 0, time.perf_counter()
            seen: list[int] = []
            batches = _within(worker.val_data, _VALIDATION, seen)
            confusion(models, batches, len(worker.classes), self._device, self._config.evaluation)
            self._wait()
            images, seconds = sum(seen), time.perf_counter() - began
            if seconds > _LONG:
                break
        return seconds * total / max(1, images), images / max(1, total)

    def _memory(self) -> dict[str, Any]:
        """Bytes that this worker takes at most, and that its machine and GPU have."""
        cache = self._worker.train_data.cache.to_come + self._worker.val_data.cache.to_come
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        found: dict[str, Any] = {
            "host": _peak() + cache + sum(_private(child.pid) for child in active_children()),
            "host_total": min(memory_limit() or physical, physical),
            "device": "CPU",
        }
        if self._device.type == "cuda":
            free, total = torch.cuda.mem_get_info(self._device)
            beside = total - free - torch.cuda.memory_reserved(self._device)  # context, libraries, other programs
            found |= {
                "device": torch.cuda.get_device_name(self._device),
                "gpu": torch.cuda.max_memory_reserved(self._device) + beside,
                "gpu_total": total,
                "allocated": torch.cuda.max_memory_allocated(self._device),
            }
        return found


def _again(data: Any, epoch: int, unlabeled: bool) -> Iterator[TrainingBatch]:
    """The batches of an epoch over and over."""
    while True:
        yield from data.epoch(epoch, unlabeled=unlabeled)


def _within(batches: Iterable[Any], seconds: float, seen: list[int]) -> Iterator[Any]:
    """Yield batches until the time is over, at least one; add to `seen` how many images each has."""
    began = time.perf_counter()
    for batch in batches:
        seen.append(len(batch.ids))
        yield batch
        if time.perf_counter() - began > seconds:
            return


@torch.no_grad()
def _fill(objective: Any) -> None:
    """Fill an objective's memory bank, if it has one, with random keys of unit length."""
    contrast = getattr(objective, "contrast", None)
    if contrast is None:
        return
    bank: MemoryBank = contrast.loss.bank
    for rows in bank.keys.split(_SLICE):
        rows.copy_(normalize_(torch.randn(rows.shape, device=rows.device)))
    bank.fill.copy_(bank.capacity)


def _peak() -> int:
    """Bytes of memory this process had at most."""
    # Not getrusage: Linux passes a parent's peak on to what it starts.
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) << 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def _private(pid: int | None) -> int:
    """Bytes that a loader process has for itself."""
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_"))
    return 0


def main() -> None:
    """Measure as the request says, and print the result."""
    import ray.train.torch  # noqa: F401  (its libraries are a part of a worker's memory and of its start)

    said = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print
    request = json.loads(sys.stdin.readline())
    with suppress(OSError):  # should memory run out, this process is to go, and no other
        Path("/proc/self/oom_score_adj").write_text("1000")
    config = resolve(Config.model_validate(request["config"]))
    torch.set_num_threads(max(1, int(config.resources.cpus_per_worker)))
    rank, world_size = request["rank"], request["world_size"]
    if world_size > 1:
        dist.init_process_group("gloo", init_method=request["rendezvous"], rank=rank, world_size=world_size)
    measured = Measured(config, rank, world_size, torch.device("cuda" if request["gpu"] else "cpu"))
    startup = time.time() - request["started"]
    print("ready", file=said)
    sys.stdin.readline()
    print(json.dumps({"startup": startup, **measured.results()}), file=said)


if __name__ == "__main__":
    main()
