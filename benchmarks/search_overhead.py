"""What a trial costs beyond its training: a real search against a plain loop of the same trainings, in one run.

    python benchmarks/search_overhead.py --output benchmarks/results/search_overhead.json

`empty`: trainings that report and checkpoint like real ones and compute nothing, so that all of a search's time is
overhead. `short`: real U2PL trainings of a few steps on the generated set; the plain loop runs them in this process,
one after the other, with as many threads as a worker has. Times are of the steady state: from the end of the first
trials to the end of the last one, without the start of Ray and the first processes.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from u2pl_ray.config import overrides
from u2pl_ray.config.schema import Config
from u2pl_ray.search.experiment.options import TRAINER
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.listeners.base import Listener
from u2pl_ray.search.space.file import load_space
from u2pl_ray.search.study.trial_record import TrialRecord
from u2pl_ray.train.launch import build_trainer

COMMON = ["workers=1", "resources.cpus_per_worker=1", "method.warmup_epochs=1", "tracking.wandb=disabled"]
CASES = {
    "empty": [*COMMON, "train.epochs=4"],
    "short": [*COMMON, "train.epochs=2", "train.steps_per_epoch=4"],
}
_ROOT = Path(__file__).parents[1]


def idle(arguments: dict[str, Any]) -> None:
    """A worker that trains nothing."""
    from ray import train

    for epoch in range(1, arguments["config"]["train"]["epochs"] + 1):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "checkpoint.pt").write_bytes(b"0" * 1000)
            checkpoint = train.Checkpoint.from_directory(folder)
            metrics = {"training_iteration": epoch, "val/miou": 0.5, "worker_time": time.time()}
            train.report(metrics, checkpoint=checkpoint, checkpoint_dir_name=f"epoch_{epoch:05d}")


def build_empty(**arguments: Any) -> Any:
    """Like `build_trainer`, with workers that train nothing."""
    trainer = build_trainer(**arguments)
    trainer.train_loop_per_worker = idle
    return trainer


class Clock(Listener):
    """When what happened."""

    def __init__(self) -> None:
        self.started: dict[str, float] = {}
        self.epochs: dict[str, list[float]] = {}
        self.worker: dict[str, list[float]] = {}
        self.finished: dict[str, float] = {}

    def trial_started(self, trial: TrialRecord, config: Config) -> None:
        """See `Listener`."""
        self.started[trial.id], self.epochs[trial.id], self.worker[trial.id] = time.time(), [], []

    def epoch_done(self, trial: TrialRecord, metrics: Mapping[str, Any], best: TrialRecord | None) -> None:
        """See `Listener`."""
        self.epochs[trial.id].append(time.time())
        self.worker[trial.id].append(metrics.get("worker_time", time.time()))

    def trial_finished(self, trial: TrialRecord) -> None:
        """See `Listener`."""
        self.finished[trial.id] = time.time()


def plain_loop(config: Config) -> float:
    """Seconds of one training in this process."""
    import torch

    from u2pl_ray.train.loop import Worker
    from u2pl_ray.train.session import LocalSession

    torch.set_num_threads(int(config.resources.cpus_per_worker))
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        Worker(config, LocalSession(Path(folder)), torch.device("cpu")).run()
    return time.monotonic() - started


def measure(case: str, trials: int) -> dict[str, Any]:
    """The figures of one case."""
    from u2pl_ray.data.registry import resolve

    config = resolve(overrides.load("quickstart", CASES[case]))
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_search(
            config,
            load_space(_ROOT / "search_spaces/paper.yaml"),
            name=case,
            trials=trials,
            storage_path=folder,
            sampler="random",
            scheduler="none",
            trainer="search_overhead:build_empty" if case == "empty" else TRAINER,
        )
        begun = time.time()
        summary = plan.create().run([clock])
        whole = time.time() - begun
    assert all(record.value is not None for record in summary.trials), [record.detail for record in summary.trials]
    slots = plan.fit.concurrent
    ends = sorted(clock.finished.values())
    wall = (ends[-1] - ends[slots - 1]) / (trials - slots)
    plain = 0.0 if case == "empty" else statistics.median(plain_loop(config) for _ in range(3))
    later = [trial for trial in clock.started if clock.started[trial] > ends[0] - 1e-3]
    first_report = statistics.median(clock.epochs[trial][0] - clock.started[trial] for trial in later)
    rest = statistics.median(clock.finished[trial] - clock.epochs[trial][0] for trial in later)
    return {
        "trials": trials,
        "at_once": slots,
        "wall_s_per_trial": round(wall, 2),
        "plain_training_s": round(plain, 2),
        "overhead_wall_s_per_trial": round(wall - plain / slots, 2),
        "overhead_s_of_its_slot": round(wall * slots - plain, 2),
        "start_to_first_report_s": round(first_report, 2),
        "first_to_last_report_s": round(rest, 2),
        "search_in_all_s": round(whole, 1),
    }


def main() -> None:
    """Measure and print; write with --output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=14)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    results = {"cpus": os.cpu_count(), "python": platform.python_version()}
    results |= {case: measure(case, arguments.trials) for case in arguments.cases}
    text = json.dumps(results, indent=2)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
