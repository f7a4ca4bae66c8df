"""Where the time of a training step goes: data, student, teacher, losses, bank, collectives, optimizer, EMA.

    python benchmarks/step_breakdown.py                          # DeepLabV3+ ResNet-50, 320 x 320, CPU or GPU
    python benchmarks/step_breakdown.py --encoder tu-resnet10t --crop 64 --batch 8

The student's outputs are cut off from its graph, so that the losses' backward pass is timed apart from the network's.
On CUDA every part waits for the device, so the shares are true and the total is longer than in training.
"""

import argparse
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from u2pl_ray.config.overrides import load
from u2pl_ray.config.schema import OptimConfig
from u2pl_ray.data.loaders import TrainingBatches
from u2pl_ray.data.registry import resolve
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.objective import build_objective
from u2pl_ray.method.types import Batch, Clock
from u2pl_ray.models.segmentor import Outputs, Segmentor
from u2pl_ray.models.teacher import Teacher
from u2pl_ray.train.diagnostics import Diagnostics
from u2pl_ray.train.optimizer import build_optimizer

CLASSES = 21
METHOD_PARTS = ("losses forward", "losses backward", "contrastive forward", "collectives")


class Clocks:
    """Seconds by part; a part inside another one is not counted twice."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)
        self._stack: list[str] = []
        self._mark = 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what happens inside to `name`."""
        self._switch()
        self._stack.append(name)
        try:
            yield
        finally:
            self._switch()
            self._stack.pop()

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, counted to `name`."""

        def timed(*arguments: Any, **options: Any) -> Any:
            with self.part(name):
                return function(*arguments, **options)

        return timed

    def _switch(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        if self._stack:
            self.seconds[self._stack[-1]] += now - self._mark
        self._mark = now


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Time `options.steps` steps after `options.warmup`; medians of each part, in seconds."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        torch.set_num_threads(options.threads)
    config = resolve(
        load(
            "quickstart",
            [
                "workers=1",
                f"data.crop={options.crop}",
                f"data.synthetic.size={options.crop}",
                "data.synthetic.labeled=8",
                "data.synthetic.unlabeled=16",
                "data.synthetic.val=1",
                "data.synthetic.test=1",
                "model.architecture=DeepLabV3Plus",
                f"model.encoder={options.encoder}",
                "model.options={}",
                "model.representation_dim=256",
                f"train.batch_size={options.batch}",
                f"train.unlabeled_batch_size={options.batch}",
                f"train.steps_per_epoch={options.warmup + options.steps}",
                "method.contrastive={low_rank: 3, high_rank: 20, anchors: 50, negatives: 256}",
                "method.memory_bank={capacity: 30000, background_capacity: 50000}",
            ],
        )
    )
    student = Segmentor(config.model, CLASSES).to(device).train()
    teacher = Teacher(student)
    optimizer = build_optimizer(OptimConfig(lr=0.01), student)
    objective = build_objective(
        config.method, CLASSES, config.model.representation_dim, 0, Collectives.from_process_group(device), device
    )
    diagnostics = Diagnostics([str(index) for index in range(CLASSES)], device)
    clocks = Clocks(device)
    objective.collectives = TimedCollectives(objective.collectives, clocks)  # type: ignore[assignment]
    term = objective.contrast  # type: ignore[attr-defined]
    contrastive = term.loss
    contrastive.collectives = objective.collectives
    term.loss = clocks_call(contrastive, clocks)
    kept: list[Tensor] = []
    leaves: list[Tensor] = []

    def student_forward(images: Tensor) -> Outputs:
        with clocks.part("student forward"), autocast(device, options.amp):
            kept[:] = student(images)[:2]
        leaves[:] = [output.detach().requires_grad_() for output in kept]
        return Outputs(*leaves)

    def teacher_forward(images: Tensor) -> Outputs:
        with clocks.part("teacher forward"), torch.no_grad(), autocast(device, options.amp):
            outputs: Outputs = teacher.module(images)
        return outputs

    batches = TrainingBatches(config).epoch(1)
    rows: list[dict[str, float]] = []
    for step in range(options.warmup + options.steps):
        clocks.seconds.clear()
        with clocks.part("data"):
            batch = Batch(*(value.to(device) for value in next(batches)))
        clock = Clock(epoch=1, epochs=10, step=step)
        with clocks.part("losses forward"):
            losses, stats = objective(student_forward, teacher_forward, batch, clock)
        with clocks.part("losses backward"):
            losses.total.backward()
        with clocks.part("student backward"):
            torch.autograd.backward(kept, [leaf.grad for leaf in leaves])
        with clocks.part("optimizer"):
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        with clocks.part("teacher EMA"):
            teacher.update(student, 0.99)
        with clocks.part("diagnostics"):
            diagnostics.add(losses, stats)
        if step >= options.warmup:
            rows.append(dict(clocks.seconds))
    parts = {
        name: statistics.median(row.get(name, 0.0) for row in rows) for name in sorted({n for r in rows for n in r})
    }
    total = sum(parts.values())
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"cpu, {options.threads} threads",
        "torch": torch.__version__,
        "settings": vars(options) | {"architecture": "DeepLabV3Plus", "classes": CLASSES},
        "step_seconds": total,
        "share": {name: seconds / total for name, seconds in parts.items()},
        "method_share": sum(parts.get(name, 0.0) for name in METHOD_PARTS) / total,
    }


class TimedCollectives:
    """Collectives whose two operations count as a part of their own."""

    def __init__(self, inner: Collectives, clocks: Clocks) -> None:
        self._inner = inner
        self.gather = clocks.wrap("collectives", inner.gather)
        self.sum = clocks.wrap("collectives", inner.sum)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def clocks_call(inner: Any, clocks: Clocks, part: str = "contrastive forward") -> Any:
    """`inner`, whose call (keys, bank, InfoNCE) counts as a part of its own."""

    class Timed:
        def __call__(self, *arguments: Any) -> Any:
            with clocks.part(part):
                return inner(*arguments)

        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

    return Timed()


def autocast(device: torch.device, enabled: bool) -> Any:
    """bfloat16 autocast, or nothing."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="resnet50")
    parser.add_argument("--crop", type=int, default=320)
    parser.add_argument("--batch", type=int, default=2, help="labeled images, and as many unlabeled ones")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="on CPU")
    parser.add_argument("--amp", action="store_true", help="bfloat16 autocast around the networks")
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args()
    result = measure(options)
    print(f"{result['device']}: {result['step_seconds']:.3f} s a step")
    for name, share in sorted(result["share"].items(), key=lambda item: -item[1]):
        print(f"  {name:<20} {share:6.1%}")
    print(f"  {'losses + masks + bank':<20} {result['method_share']:6.1%} of the step")
    kind = "cuda" if "cpu" not in result["device"] else "cpu"
    output = options.output or Path(__file__).parent / "results" / f"step_breakdown_{kind}_{options.encoder}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    settings = {key: value for key, value in result["settings"].items() if key != "output"}
    output.write_text(json.dumps(result | {"settings": settings}, indent=2) + "\n")
    print(output)


if __name__ == "__main__":
    main()
