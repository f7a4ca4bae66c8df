"""A real, small search as a user starts it, and ways to kill it: by SIGKILL at a chosen place, all of it or its driver.

Used by `kill_anywhere.py` and by the tests. Places in the driver are reached by wrapping functions before the command
line runs (`python benchmarks/killing.py POINT N ARGUMENTS...`), places in the workers by watching their files.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.processes import ROOT, descendants, kill_all
from u2pl_ray.search.trials.epoch_log import read_epochs

if TYPE_CHECKING:
    from u2pl_ray.search.study.study import TrialStudy

NAME = "killed"

CONFIG = """
seed: 1
data:
  dataset: synthetic
  crop: 32
  synthetic: {size: 32, classes: 3, labeled: 4, unlabeled: 8, val: 6, test: 2}
model:
  encoder: tu-resnet10t
  options: {encoder_depth: 3, encoder_output_stride: 8, decoder_channels: 32}
  representation_dim: 8
  normalization: group
method:
  warmup_epochs: 1
  contrastive: {low_rank: 1, high_rank: 3, anchors: 8, negatives: 8}
  memory_bank: {capacity: 64, background_capacity: null, push_cap: 16}
optim: {lr: 0.05}
train: {epochs: 4, batch_size: 2, unlabeled_batch_size: 2, steps_per_epoch: 3}
resources: {device: cpu}
tracking: {wandb: disabled}
"""
SPACE = """
metric: {name: val/miou, goal: maximize}
early_terminate: {type: hyperband, min_iter: 2, eta: 2}
parameters:
  optim.lr: {distribution: log_uniform_values, min: 0.0005, max: 0.1}
  method.contrastive.temperature: {distribution: log_uniform_values, min: 0.1, max: 1.0}
  method.memory_bank.capacity: {distribution: q_log_uniform_values, q: 1, min: 32, max: 256}
"""

DRIVER_POINTS = {
    "proposal": ("u2pl_ray.search.study.study:TrialStudy.propose", "u2pl_ray.search.study.study:TrialStudy._enter"),
    "report": ("u2pl_ray.search.trials.epoch_log:EpochLog.append", "u2pl_ray.search.study.study:TrialStudy.report"),
    "decision": ("u2pl_ray.search.study.study:TrialStudy.should_stop", "u2pl_ray.search.study.study:TrialStudy.stop"),
    "study": ("u2pl_ray.search.study.journal:Journal.append_logs",),
}
"""Functions of the driver before and after which it dies."""

WORKER_POINTS = {
    "checkpoint": "tmp/u2pl_ray_*/checkpoint.pt.partial",
    "upload": f"{NAME}/trials/*/train/epoch_*",
    "mid-epoch": f"{NAME}/trials/*/epochs.jsonl",
}
"""Files whose appearance or growth says where a worker is, relative to the storage."""

PHASES = ("exploring", "replicating")
"""Parts of a search with a budget of trainings, at a random moment of which it dies."""

POINTS = ("start-up", *DRIVER_POINTS, *WORKER_POINTS, "random")


@dataclass
class Search:
    """One search in `folder`, started and resumed by the command line.

    Attributes:
        trials, concurrent: how many trials, and how many at once.
        address: a running cluster's; empty: every start has its own.
        trainings: the budget instead of `trials`, replicates included; 0: none.
        tried: kills that hit, by point.
    """

    folder: Path
    trials: int
    concurrent: int = 1
    address: str = ""
    trainings: int = 0
    tried: dict[str, int] = field(default_factory=dict)
    _others: frozenset[int] = frozenset()

    def prepare(self) -> None:
        """Write what the command line reads."""
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
        (self.folder / "config.yaml").write_text(CONFIG)
        (self.folder / "space.yaml").write_text(SPACE)

    def arguments(self) -> list[str]:
        """The command that goes on from here."""
        if (self.folder / NAME).exists():
            return ["resume", NAME, "--storage-path", str(self.folder)]
        files = [str(self.folder / "config.yaml"), "--space", str(self.folder / "space.yaml")]
        budget = ["--trials", str(self.trials), "--baseline", "none"]
        if self.trainings:
            budget = ["--trainings", str(self.trainings)]
        numbers = [*budget, "--max-concurrent", str(self.concurrent), "--seed", "3"]
        return ["search", *files, *numbers, "--name", NAME, "--storage-path", str(self.folder)]

    def start(self, point: str = "none", count: int = 0) -> "subprocess.Popen[bytes]":
        """Start or resume it; its output goes to `log.txt`."""
        environment = {
            **os.environ,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
            "TMPDIR": str(self.folder / "tmp"),
            "U2PL_RAY_CACHE": str(self.folder.parent / "cache"),
            "RAY_TMPDIR": "/tmp",  # sockets need short paths
            "RAY_NUM_CPUS": str(max(2, self.concurrent)),
            "RAY_worker_niceness": "0",
        }
        environment.pop("RAY_ADDRESS", None)
        self._others = frozenset(descendants(os.getpid()))
        if self.address:
            environment["RAY_ADDRESS"] = self.address
        with (self.folder / "log.txt").open("ab") as log:
            log.write(f"--- {point} {count}\n".encode())
            log.flush()
            command = [sys.executable, "-W", "ignore", __file__, point, str(count), *self.arguments()]
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def run_until(self, point: str, draw: random.Random, limit: float) -> bool:
        """Start or resume it and kill it at a point; whether it ended by itself first.

        Raises:
            RuntimeError: it failed, or took longer than `limit` seconds.
        """
        count = draw.randint(1, 4) if point in DRIVER_POINTS else draw.randint(1, 2)
        process = self.start(point if point in DRIVER_POINTS else "none", count)
        give_up = time.monotonic() + limit
        trigger = self._trigger(point, count, draw)
        while process.poll() is None and time.monotonic() < give_up:
            if trigger():
                break
            time.sleep(0.001 if point in WORKER_POINTS else 0.01)
        late = time.monotonic() >= give_up
        if not self.address:
            self.kill()
        elif process.poll() is None:
            process.kill()
        code = process.wait()
        if late or code not in (0, -signal.SIGKILL):
            raise RuntimeError(f"{self.folder}: {'no end' if late else f'exit code {code}'} on the way to {point!r}")
        if code == 0:
            return True
        self.tried[point] = self.tried.get(point, 0) + 1
        return False

    def kill(self) -> None:
        """Kill all that the latest start has begun."""
        kill_all(self._others)

    def _trigger(self, point: str, count: int, draw: random.Random) -> Callable[[], bool]:
        """A function that says when a point outside the driver is reached."""
        begun = time.monotonic()
        if point in DRIVER_POINTS or point == "none":
            return lambda: False
        if point in ("start-up", "random"):
            wait = draw.uniform(0.0, 15.0 if point == "start-up" else 60.0)
            return lambda: time.monotonic() - begun > wait
        before, seen, pause = self._state(point), [0], draw.uniform(0.0, 1.0)

        def reached() -> bool:
            nonlocal before
            now = self._state(point)
            if now != before:
                before, seen[0] = now, seen[0] + (len(now) >= len(before))
            if seen[0] < count:
                return False
            time.sleep(pause if point in ("mid-epoch", *PHASES) else pause / 100)
            return True

        return reached

    def _state(self, point: str) -> dict[str, int]:
        state = {}
        for path in self.folder.glob(WORKER_POINTS["mid-epoch" if point in PHASES else point]):
            with contextlib.suppress(FileNotFoundError):
                if point not in PHASES or _phase(path.parent) == point:
                    state[str(path)] = path.stat().st_size if path.is_file() else 0
        return state

    def story(self) -> dict[str, Any]:
        """Everything the search came to."""
        from u2pl_ray.search.experiment.experiment import Experiment

        experiment = Experiment.open(NAME, self.folder)
        study = experiment.study()
        told = story(study, experiment.folder / "trials")
        if self.trainings:
            judgement = experiment.judgement(study)
            told |= {"use": judgement.use, "answer": str(judgement.answer), "rounds": study.study.user_attrs["rounds"]}
        return told


def _phase(trial: Path) -> str:
    """Which part of a search a trial belongs to, by its files."""
    from u2pl_ray.search.study.companion import Kind
    from u2pl_ray.search.study.trial_file import TrialFile

    file = TrialFile.read(trial)
    again = file is not None and file.companion is not None and file.companion["kind"] == Kind.REPLICATE.value
    return PHASES[again]


def story(study: "TrialStudy", trials: Path) -> dict[str, Any]:
    """Everything a search came to, without clocks and without where its files are."""
    best = study.best()
    return {
        "best": best and best.id,
        "trials": [
            {
                "id": record.id,
                "state": record.state.value,
                "params": record.params,
                "values": record.values,
                "value": record.value,
                "note": record.note,
                "epochs": [plain(row) for row in read_epochs(trials / record.id / "epochs.jsonl")],
            }
            for record in study.all_records()
        ],
    }


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """An epoch's metrics without what depends on the clock, or on where the checkpoint lies."""
    # Pictures are drawn after the checkpoint: a kill between the two costs that epoch's.
    others = ("checkpoint", "images")
    return {key: value for key, value in row.items() if not key.startswith("perf/") and key not in others}


def die_at(point: str, count: int) -> None:
    """Wrap a point's functions so that this process dies at the `count`-th time one begins or ends."""
    import importlib

    left = [count]

    def tick() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            tick()
            result = function(*arguments, **options)
            tick()
            return result

        return call

    for path in DRIVER_POINTS[point]:
        module, _, rest = path.partition(":")
        owner, _, name = rest.partition(".")
        place = getattr(importlib.import_module(module), owner)
        setattr(place, name, wrapped(getattr(place, name)))


if __name__ == "__main__":
    if sys.argv[1] in DRIVER_POINTS:
        die_at(sys.argv[1], int(sys.argv[2]))
    from u2pl_ray.cli import main

    sys.argv = ["u2pl-ray", *sys.argv[3:]]
    main()
