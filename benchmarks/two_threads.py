"""Our losses at VOC size with one thread and with two, by turns in one process, on CPU: two should never be slower.

    python -m benchmarks.two_threads

The losses and their inputs are those of `benchmarks.loss_vs_reference`, and so is the allocator. Each round runs each
loss, forward and backward, once with either number of threads; a ratio is one thread / two threads within a round.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.loss_problems import SIZES, Logits, make_problem
from benchmarks.our_losses import VARIANTS, Ours, OurUnsupervised
from benchmarks.processes import with_workers_allocator


def milliseconds(step: Callable[[], Tensor], inputs: Tensor, threads: int) -> float:
    """Time of one forward and backward pass, after a short product that wakes the threads."""
    torch.set_num_threads(threads)
    awake = torch.ones(512, 512)
    awake @ awake
    inputs.grad = None
    start = time.perf_counter()
    step().backward()
    return 1e3 * (time.perf_counter() - start)


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "two_threads.json")
    options = parser.parse_args()
    with_workers_allocator("benchmarks.two_threads")
    torch.manual_seed(0)
    size = SIZES["voc"]
    problem = make_problem(size)
    logits = Logits(size, problem)
    steps: dict[str, tuple[Callable[[], Tensor], Tensor]] = {
        "unsupervised and masks": (OurUnsupervised(logits), logits.student),
        "contrastive, all keys": (Ours(size, problem, *VARIANTS["all keys"]), problem.student),
        "contrastive, push_cap 1024": (Ours(size, problem, *VARIANTS["push_cap 1024"]), problem.student),
    }
    result: dict[str, object] = {"cores": os.cpu_count(), "torch": torch.__version__, "rounds": options.rounds}
    for name, (step, inputs) in steps.items():
        times: dict[int, list[float]] = {1: [], 2: []}
        for round_ in range(options.rounds + 2):
            for threads in (1, 2) if round_ % 2 else (2, 1):
                taken = milliseconds(step, inputs, threads)
                if round_ >= 2:
                    times[threads].append(taken)
        ratios = sorted(one / two for one, two in zip(times[1], times[2], strict=True))
        row = {"one_ms": statistics.median(times[1]), "two_ms": statistics.median(times[2])}
        result[name] = row | {"ratio": statistics.median(ratios), "range": [ratios[0], ratios[-1]]}
        print(
            f"{name:28} | one {row['one_ms']:4.0f} ms | two {row['two_ms']:4.0f} ms ({min(times[2]):.0f} .. "
            f"{max(times[2]):.0f}) | one / two {statistics.median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]",
            flush=True,
        )
    options.output.write_text(json.dumps(result, indent=2) + "\n")
    print(options.output)


if __name__ == "__main__":
    main()
