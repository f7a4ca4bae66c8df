"""What the diagnostics cost of a training step: pixel counts, bank statistics, adding them up.

    python benchmarks/diagnostics_overhead.py                                            # both sizes below
    python benchmarks/diagnostics_overhead.py --sizes resnet50 --steps 12

Steps with and without diagnostics take turns in one process, and within a step the diagnostics are timed by
themselves: the latter is the share reported, since steps vary by more than a few percent. On CPU; nothing there is
deferred, so the share is exact.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from u2pl_ray.config.overrides import load
from u2pl_ray.config.schema import Config
from u2pl_ray.data.loaders import TrainingBatches
from u2pl_ray.data.registry import resolve
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.objective import build_objective
from u2pl_ray.method.statistics import pixel_counts
from u2pl_ray.method.types import Batch, Clock
from u2pl_ray.models.segmentor import Outputs, Segmentor
from u2pl_ray.models.teacher import Teacher
from u2pl_ray.train.diagnostics import Diagnostics
from u2pl_ray.train.optimizer import build_optimizer

CPU = torch.device("cpu")
SIZES = {
    "resnet50": [
        *("data.crop=320", "data.synthetic.size=320", "data.synthetic.classes=12", "data.synthetic.labeled=12"),
        *("data.synthetic.unlabeled=16", "data.synthetic.val=1", "data.synthetic.test=1"),
        *("model.architecture=DeepLabV3Plus", "model.encoder=resnet50", "model.options={}"),
        *("model.representation_dim=256", "train.batch_size=2", "train.unlabeled_batch_size=2"),
        "method.contrastive={low_rank: 3, high_rank: 20, anchors: 50, negatives: 256}",
        "method.memory_bank={capacity: 30000, background_capacity: 50000}",
    ],
    "quickstart": ["train.batch_size=4", "train.unlabeled_batch_size=4"],  # one worker's share
}
"""DeepLabV3+ on ResNet-50 at 320 pixels, two labeled and two unlabeled images; a worker of the quickstart."""


class Meter:
    """Seconds spent in the functions it wraps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, counted."""

        def timed(*arguments: Any, **options: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - begun

        return timed


def measure(config: Config, steps: int, warmup: int) -> dict[str, Any]:
    """Time pairs of steps, with and without."""
    classes = len(config.data.classes)
    student = Segmentor(config.model, classes).train()
    teacher = Teacher(student)
    optimizer = build_optimizer(config.optim, student)
    collectives = Collectives.from_process_group(CPU)
    objective = build_objective(config.method, classes, config.model.representation_dim, 0, collectives, CPU)
    diagnostics = Diagnostics(config.data.classes, CPU)

    def teacher_forward(images: Tensor) -> Outputs:
        with torch.no_grad():
            return teacher.module(images)

    def run(batch: Batch, number: int, add: Callable[..., Any]) -> float:
        begun = time.perf_counter()
        clock = Clock(epoch=1, epochs=10, step=number)
        losses, stats = objective(student, teacher_forward, batch, clock)
        optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        optimizer.step()
        teacher.update(student, 0.99)
        add(losses, stats)
        return time.perf_counter() - begun

    contrastive: Any = objective.contrast.loss  # type: ignore[attr-defined]
    inside: list[float] = []

    def with_diagnostics(batch: Batch, number: int) -> float:
        meter, again = Meter(), 0.0

        def count(*arguments: Any) -> Tensor:
            nonlocal again
            found: Tensor = meter(pixel_counts)(*arguments)
            begun = time.perf_counter()
            arguments[3].nansum(dtype=torch.float64)  # as the objective does beside: timed here, in addition
            again = time.perf_counter() - begun
            return found

        with (
            mock.patch("u2pl_ray.method.pseudo_label.pixel_counts", count),
            mock.patch.object(contrastive, "_false_keys", meter(contrastive._false_keys)),
            mock.patch.object(contrastive.bank, "ages", meter(contrastive.bank.ages)),
        ):
            seconds = run(batch, number, meter(diagnostics.add)) - again
        inside.append((meter.seconds + again) / seconds)
        return seconds

    def nothing(*_: Any) -> Tensor:
        return torch.zeros(())

    def no_keys(*_: Any) -> dict[str, Tensor]:
        return {}

    def without(batch: Batch, number: int) -> float:
        with (
            mock.patch("u2pl_ray.method.pseudo_label.pixel_counts", nothing),
            mock.patch.object(contrastive, "_false_keys", no_keys),
            mock.patch.object(contrastive.bank, "ages", nothing),
        ):
            return run(batch, number, lambda *_: None)

    loaded = list(TrainingBatches(config).epoch(1))
    ratios: list[float] = []
    seconds: list[float] = []
    for pair in range(warmup + steps):
        batch = Batch(*loaded[pair % len(loaded)])
        ways = [with_diagnostics, without] if pair % 2 else [without, with_diagnostics]
        took = {way: way(batch, 2 * pair + order) for order, way in enumerate(ways)}
        if pair >= warmup:
            ratios.append(took[with_diagnostics] / took[without] - 1.0)
            seconds.append(took[with_diagnostics])
    return {
        "step_seconds": statistics.median(seconds),
        "share": statistics.median(inside[warmup:]),
        "share_largest": max(inside[warmup:]),
        "paired_difference": statistics.median(ratios),
        "pairs": steps,
        "classes": classes,
    }


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "diagnostics_overhead.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = {"torch": torch.__version__, "threads": options.threads, "sizes": {}}
    for size in options.sizes:
        config = resolve(load("quickstart", ["workers=1", *SIZES[size]]))
        result = found["sizes"][size] = measure(config, options.steps, options.warmup)
        print(
            f"{size:<12} {result['step_seconds']:.3f} s a step; diagnostics {result['share']:.2%} of it "
            f"(at most {result['share_largest']:.2%}); paired difference {result['paired_difference']:+.2%}"
        )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
