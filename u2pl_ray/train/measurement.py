"""Measure a training before it is paid for: a few real steps in processes of their own, as its workers will be."""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import u2pl_ray
from u2pl_ray.config.schema import Config
from u2pl_ray.train.launch import WORKER_ENVIRONMENT

_PATIENCE = 240.0
"""Seconds for a measurement altogether."""
_MODULE = "u2pl_ray.train.measuring"
_NO_MEMORY = ("out of memory", "OutOfMemory", "can't allocate memory", "std::bad_alloc")


class NotMeasured(Exception):
    """Why there is no measurement, in one line; `memory`: a worker found too little of it."""

    def __init__(self, why: str, memory: bool = False) -> None:
        super().__init__(why)
        self.memory = memory


@dataclass(frozen=True)
class Measurement:
    """What one worker of a training takes. Times are in seconds, memory in bytes.

    Attributes:
        device: name of the GPU, or CPU.
        steps: optimizer steps of an epoch.
        warmup: of each measured step on labeled images alone; empty if the training has none.
        main: of each measured step with unlabeled images, the memory bank full; empty if the training has none.
        startup: from the start of a process to its first step, and what first steps take longer.
        validation: of student and teacher on the whole split, this worker's share.
        validated: share of the split that was measured.
        checkpoint: to write one.
        images: to draw sample images, on average over the epochs.
        host: memory of the process and its loader processes.
        host_total: of the machine, or what it allows.
        gpu: memory of the GPU in use, other programs' included; None on CPU.
        gpu_total: of the GPU.
        allocated: of it in tensors, as `perf/memory_gib` reports it.
        workers: of a training that exchanged gradients; 1: nothing was exchanged.
        copies: trainings that ran at once.
    """

    device: str
    steps: int
    warmup: tuple[float, ...]
    main: tuple[float, ...]
    startup: float
    validation: float
    validated: float
    checkpoint: float
    images: float
    host: int
    host_total: int
    gpu: int | None = None
    gpu_total: int | None = None
    allocated: int | None = None
    workers: int = 1
    copies: int = 1

    @property
    def warmup_step(self) -> float:
        """Seconds of a step on labeled images alone (where none was measured: of one with unlabeled images)."""
        return median(self.warmup or self.main)

    @property
    def main_step(self) -> float:
        """Seconds of a step with unlabeled images (for a method without them: of its step)."""
        return median(self.main or self.warmup)

    @property
    def memory(self) -> int:
        """Bytes of the memory that a worker needs most of: the GPU's, on CPU the machine's."""
        return self.host if self.gpu is None else self.gpu

    @property
    def memory_total(self) -> int:
        """Bytes that there are of it."""
        return self.host_total if self.gpu_total is None else self.gpu_total

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles of a kind of step, as a share of its median; the larger of both."""
        kinds = [times for times in (self.warmup, self.main) if len(times) > 1]
        ends = [(quantiles(times, n=4, method="inclusive"), median(times)) for times in kinds]
        return max(((high - low) / 2 / middle for (low, _, high), middle in ends), default=0.0)


def measure_training(
    config: Config,
    gpu: bool,
    copies: int = 1,
    tell: Callable[[str], None] = lambda line: None,
    single: bool = False,
) -> Measurement:
    """Start the workers of some trainings on this machine, let them take a few steps, and merge what they say.

    On CPU all workers of a training are started, and exchange gradients over this machine. On a GPU it is one worker,
    with its share of the batch, alone: what workers wait for each other is not in it.

    Args:
        config: resolved.
        gpu: whether it is the GPU that this process sees first, or the CPU.
        copies: trainings at once, which share the machine's memory bandwidth; on a GPU one.
        tell: called with a line when something begins.
        single: one worker on CPU too.

    Raises:
        NotMeasured: it failed, found no memory, or took too long.
    """
    single = single or gpu
    workers, copies = (1, 1) if single else (config.most_workers, copies)
    if single:
        config = _share(config)
    until = time.monotonic() + _PATIENCE
    processes = f"{workers * copies} process{'es' * (workers * copies > 1)}"
    what = f"{copies} trainings" if copies > 1 else "a training"
    tell(f"starts {processes}, at most {_PATIENCE:.0f} s for all that follows")
    with tempfile.TemporaryDirectory() as folder, _processes(workers * copies, config, folder) as crew:
        for number, process in enumerate(crew.running):
            request = {
                "config": config.model_dump(mode="json"),
                "gpu": gpu,
                "rank": number % workers,
                "world_size": workers,
                "rendezvous": f"file://{folder}/{number // workers}",
                "started": time.time(),
            }
            _write(process, json.dumps(request))
        crew.answers(until)
        tell(f"some steps of {what}, {workers} worker{'s' * (workers > 1)} each, a validation, a checkpoint")
        for process in crew.running:
            _write(process, "go")
        rows = [json.loads(line) for line in crew.answers(until)]
        tell("done")
    return _merge(rows, workers, copies)


def _share(config: Config) -> Config:
    """The training of one worker with its share of the batches."""
    count, train = config.most_workers, config.train
    sizes = {"batch_size": train.batch_size // count, "unlabeled_batch_size": train.unlabeled_batch_size // count}
    if train.steps_per_epoch is None and count > 1:  # an epoch has as many steps as with all workers
        from u2pl_ray.data.loaders import steps_per_epoch
        from u2pl_ray.data.voc import open_training_splits

        labeled, unlabeled = open_training_splits(config.data)
        sizes["steps_per_epoch"] = steps_per_epoch(config, len(unlabeled), len(labeled))
    return config.model_copy(update={"workers": 1, "train": train.model_copy(update=sizes)})


def _merge(rows: Sequence[dict[str, Any]], workers: int, copies: int) -> Measurement:
    """Make one of all workers' results: times are the medians, or, where all wait for the last one, its own."""
    leads = rows[::workers]

    def steps(kind: str) -> tuple[float, ...]:
        return tuple(seconds for row in leads for seconds in row[kind])

    def most(key: str) -> Any:
        return max((row[key] for row in rows if key in row), default=None)

    trainings = [rows[start : start + workers] for start in range(0, len(rows), workers)]
    return Measurement(
        device=rows[0]["device"],
        steps=rows[0]["steps"],
        warmup=steps("warmup"),
        main=steps("main"),
        startup=median(row["startup"] + row["first"] for row in leads),
        validation=median(max(row["validation"] for row in training) for training in trainings),
        validated=min(row["validated"] for row in rows),
        checkpoint=median(row["checkpoint"] for row in leads),
        images=median(row["images"] for row in leads),
        host=most("host"),
        host_total=rows[0]["host_total"],
        gpu=most("gpu"),
        gpu_total=most("gpu_total"),
        allocated=most("allocated"),
        workers=workers,
        copies=copies,
    )


class _Crew:
    """The processes, and what they say."""

    def __init__(self, running: Sequence[subprocess.Popen[str]], complaints: Path) -> None:
        self.running, self._complaints = running, complaints
        self._said: queue.Queue[tuple[int, str]] = queue.Queue()
        self._ended: set[int] = set()
        for number in range(len(running)):
            threading.Thread(target=self._listen, args=(number,), daemon=True).start()

    def answers(self, until: float) -> list[str]:
        """Wait for the next line of every process; return them in order.

        Raises:
            NotMeasured: a process ended, or it is later than `until` (of `time.monotonic`).
        """
        found: dict[int, str] = {}
        while len(found) < len(self.running):
            if missing := self._ended - found.keys():
                raise self._failure(min(missing))
            try:
                number, line = self._said.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise NotMeasured(f"its start and first steps take longer than {_PATIENCE:.0f} s") from None
            if line:
                found[number] = line
            else:
                self._ended.add(number)
        return [found[number] for number in range(len(self.running))]

    def _failure(self, number: int) -> NotMeasured:
        code = self.running[number].wait()
        lines = (self._complaints / f"{number}.err").read_text(errors="replace").strip().splitlines()
        errors = [line for line in lines if "Error" in line.partition(":")[0]]
        last = (errors or lines or [f"its process ended with {code}"])[-1]
        memory = code == -9 or any(word in line for word in _NO_MEMORY for line in lines[-3:])
        return NotMeasured("a worker ran out of memory" if memory else f"a worker failed: {last}", memory)

    def _listen(self, number: int) -> None:
        stream = self.running[number].stdout
        assert stream is not None
        for line in stream:
            self._said.put((number, line))
        self._said.put((number, ""))


@contextmanager
def _processes(count: int, config: Config, folder: str) -> Iterator[_Crew]:
    """Start measuring processes, and end them with the context."""
    path = os.pathsep.join(filter(None, (str(Path(u2pl_ray.__file__).parents[1]), os.environ.get("PYTHONPATH"))))
    threads = max(1, int(config.resources.cpus_per_worker + config.data.loader_workers))  # as Ray sets it
    environment = {**os.environ, **WORKER_ENVIRONMENT, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": path}
    environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    started: list[subprocess.Popen[str]] = []
    try:
        for number in range(count):
            with (Path(folder) / f"{number}.err").open("w") as complaints:
                command = [sys.executable, "-m", _MODULE]
                pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": complaints}
                started.append(subprocess.Popen(command, env=environment, text=True, **pipes))  # type: ignore[call-overload]
        yield _Crew(started, Path(folder))
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.communicate()


def _write(process: subprocess.Popen[str], line: str) -> None:
    """Send a line to a process; one that has ended is noticed by its silence."""
    assert process.stdin is not None
    try:
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
    except BrokenPipeError:
        pass
