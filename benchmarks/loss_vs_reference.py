"""Our losses against the public reference implementation's, in interleaved rounds within one process, on CPU.

    git clone https://github.com/Haochen-Wang409/U2PL
    python -m benchmarks.loss_vs_reference U2PL

Compared, forward + backward, at the VOC size (21 classes, 256-d, 4 + 4 images, 129 x 129 map, full queues of 30,000
keys, 50,000 for the background; all classes in the batch, or 8 of them) and at a small size (11 classes, 64-d, 4 + 4
images, 40 x 40, queues of 2,000):

* Contrastive loss. The reference with its rules corrected to the paper's, which ours always follows, and as published
  (given correct one-hot labels: it then pushes hardly any keys). Corrected, the reference pushes every key there is.
  Ours does the same (`all keys`, the same work), or at most 1024 per class and step (`push_cap`, our default).
* Unsupervised loss and the masks of the contrastive loss: upsampling, entropies, thresholds, small maps.

The reference is loaded as it is; `.cuda()` is made the identity and its all-gather that of one process. Each round
runs it once and each variant of ours once; a ratio is reference / ours within a round, of wall time and of CPU time
(which other programs on the machine disturb less). `--allocator workers` (the default) sets the allocator as for our
CPU workers, for both sides. Memory is the growth of the peak resident size during one step, each in a process of its
own with the default allocator.
"""

import argparse
import ctypes
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.loss_problems import ANCHORS, NEGATIVES, SIZES, Logits, Problem, Size, make_problem
from benchmarks.our_losses import VARIANTS, Ours, OurUnsupervised, check_same_loss
from benchmarks.processes import with_workers_allocator
from benchmarks.reference_losses import Reference, ReferenceUnsupervised, load_reference
from u2pl_ray.train.launch import WORKER_ENVIRONMENT

Step = Callable[[], Tensor]


def timed(step: Step, inputs: Tensor) -> dict[str, float]:
    """Milliseconds of a forward and of a backward pass, of both on the wall clock and of CPU."""
    inputs.grad = None
    cpu, start = time.process_time(), time.perf_counter()
    loss = step()
    middle = time.perf_counter()
    loss.backward()
    end = time.perf_counter()
    parts = {"forward": middle - start, "backward": end - middle, "wall": end - start}
    return {name: 1e3 * seconds for name, seconds in (parts | {"cpu": time.process_time() - cpu}).items()}


def compare(reference: Step, variants: dict[str, Step], inputs: Tensor, rounds: int) -> list[dict[str, Any]]:
    """Interleaved rounds (the first two are not counted), in alternating order: one row per variant."""
    steps = {"reference": reference} | variants
    times: dict[str, list[dict[str, float]]] = {name: [] for name in steps}
    for round_ in range(rounds + 2):
        for name in list(steps)[:: 1 if round_ % 2 else -1]:
            result = timed(steps[name], inputs)
            if round_ >= 2:
                times[name].append(result)

    def medians(name: str) -> dict[str, float]:
        return {part: statistics.median(time_[part] for time_ in times[name]) for part in times[name][0]}

    rows = []
    for name in variants:
        row: dict[str, Any] = {"variant": name, "reference_ms": medians("reference"), "ours_ms": medians(name)}
        for clock in ("wall", "cpu"):
            ratios = [r[clock] / o[clock] for r, o in zip(times["reference"], times[name], strict=True)]
            row[f"{clock}_ratio"] = {"median": statistics.median(ratios), "range": [min(ratios), max(ratios)]}
        rows.append(row)
    return rows


def report(what: str, size: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Print rows of the table."""
    for row in rows:
        theirs, ours, wall, cpu = (row[key] for key in ("reference_ms", "ours_ms", "wall_ratio", "cpu_ratio"))
        times = " | ".join(f"{side['forward']:5.0f} + {side['backward']:5.0f}" for side in (theirs, ours))
        ratio = f"{wall['median']:5.1f} [{wall['range'][0]:.1f}, {wall['range'][1]:.1f}]"
        print(f"{size:15} | {what:24} | {row['variant']:24} | {times} | {ratio:20} | {cpu['median']:5.1f}", flush=True)
    return [{"size": size, "loss": what} | row for row in rows]


def peak_growth(side: str, path: Path, size: Size, threads: int, results: Any) -> None:
    """Put MB by which the peak resident size grows over what is resident before, in one forward + backward."""
    torch.set_num_threads(threads)
    losses = load_reference(path)

    def step(problem_size: Size) -> tuple[Step, Problem]:
        problem = make_problem(problem_size)
        if side in VARIANTS:
            return Ours(problem_size, problem, *VARIANTS[side]), problem
        return Reference(losses, side, problem_size, problem), problem

    step(SIZES["small"])[0]().backward()  # load what is loaded once
    run, _ = step(size)
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _status("VmRSS")
    run().backward()
    results.put((_status("VmHWM") - before) / 1e3)


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def memory(path: Path, size: str, threads: int) -> dict[str, float]:
    """`peak_growth` of both sides, with corrected rules, each in a fresh process."""
    context = multiprocessing.get_context("spawn")
    for variable in WORKER_ENVIRONMENT:
        os.environ.pop(variable, None)
    growth = {}
    for side in ("corrected", *VARIANTS):
        results = context.Queue()
        process = context.Process(target=peak_growth, args=(side, path, SIZES[size], threads, results))
        process.start()
        growth[side] = results.get(timeout=1800)
        process.join()
        share = growth[side] / growth["corrected"]
        print(f"{size:15} | peak memory growth, {side:24} | {growth[side]:7.0f} MB | {share:.2f}", flush=True)
    return growth


def main() -> None:
    """Run all comparisons, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=Path, help="checkout of the reference implementation")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--allocator", choices=["workers", "default"], default="workers")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.allocator == "workers":
        with_workers_allocator("benchmarks.loss_vs_reference")
    path = options.reference.resolve()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    losses = load_reference(path)
    rows: list[dict[str, Any]] = []
    growth = {}
    print("size | loss | ours | reference ms, forward + backward | ours ms | ratio, median [range] | ratio of CPU time")
    for name in options.sizes:
        size = SIZES[name]
        problem = make_problem(size)
        for rules in ("corrected", "published"):
            reference = Reference(losses, rules, size, problem)
            ours: dict[str, Step] = {key: Ours(size, problem, *variant) for key, variant in VARIANTS.items()}
            found = compare(reference, ours, problem.student, options.rounds)
            rows += report(f"contrastive, {rules}", name, found)
        logits = Logits(size, problem)
        step, our_step = ReferenceUnsupervised(losses, size, logits), OurUnsupervised(logits)
        check_same_loss(step, our_step)
        found = compare(step, {"": our_step}, logits.student, options.rounds)
        rows += report("unsupervised and masks", name, found)
    for name in options.sizes:
        growth[name] = memory(path, name, options.threads)
    result = {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__},
        "threads": options.threads,
        "rounds": options.rounds,
        "allocator": options.allocator,
        "anchors": ANCHORS,
        "negatives": NEGATIVES,
        "rows": rows,
        "peak_memory_growth_mb": growth,
    }
    output = options.output or Path(__file__).parent / "results" / f"loss_vs_reference_{options.allocator}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(output)


if __name__ == "__main__":
    main()
