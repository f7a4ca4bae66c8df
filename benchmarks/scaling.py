"""Throughput with 1, 2 and 4 data-parallel CPU workers over one global batch, and the collectives' share of a step.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --workers 1 2 --preset camvid data.root=/data/camvid_240 model.encoder=resnet18

Each worker is a process with one thread, over gloo. More workers than cores cannot be faster; they show the overhead.
Gradients are averaged by DDP while the backward pass runs; that part is in the step's time, not in the share.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from u2pl_ray.config.overrides import load
from u2pl_ray.config.schema import Config
from u2pl_ray.data.registry import resolve
from u2pl_ray.train.loop import Worker
from u2pl_ray.train.session import LocalSession


def work(rank: int, world_size: int, rendezvous: str, config: str, results: Any) -> None:
    """One rank: a warm-up epoch, then timed epochs; rank 0 puts (seconds a step, seconds in collectives)."""
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world_size)
    seconds = [0.0]

    def timed(function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                seconds[0] += time.perf_counter() - started

        return call

    dist.all_gather_into_tensor = timed(dist.all_gather_into_tensor)
    dist.all_reduce = timed(dist.all_reduce)
    parsed = Config.model_validate_json(config)
    worker = Worker(parsed, LocalSession(rank=rank, world_size=world_size), torch.device("cpu"))
    rows = []
    for epoch in range(parsed.train.epochs):
        seconds[0] = 0.0
        metrics = worker.train_epoch()
        worker.position.epochs_done += 1
        if epoch >= 1:
            rows.append((metrics["perf/step_seconds"], seconds[0] / worker.steps))
    if rank == 0:
        results.put(rows)
    dist.destroy_process_group()


def measure(world_size: int, config: Config) -> dict[str, float]:
    """Medians over the timed epochs of `config` on `world_size` processes."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    rendezvous = f"/tmp/u2pl_ray_scaling_{os.getpid()}_{world_size}"
    arguments = (world_size, rendezvous, config.model_dump_json(), results)
    processes = [context.Process(target=work, args=(rank, *arguments)) for rank in range(world_size)]
    for process in processes:
        process.start()
    rows = results.get(timeout=3600)
    for process in processes:
        process.join()
    Path(rendezvous).unlink(missing_ok=True)
    step = statistics.median(row[0] for row in rows)
    images = config.train.batch_size + config.train.unlabeled_batch_size
    share = statistics.median(row[1] / row[0] for row in rows)
    return {"workers": world_size, "step_seconds": step, "images_per_second": images / step, "collectives_share": share}


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="a.b=c")
    parser.add_argument("--preset", default="quickstart")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--epochs", type=int, default=3, help="timed epochs")
    parser.add_argument("--steps", type=int, default=8, help="steps of an epoch")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "scaling_cpu.json")
    options = parser.parse_args()
    length = [f"train.epochs={options.epochs + 1}", f"train.steps_per_epoch={options.steps}", "method.warmup_epochs=0"]
    rows = []
    for workers in options.workers:
        config = resolve(load(options.preset, [*options.overrides, *length, f"workers={workers}"]))
        rows.append(measure(workers, config))
        row = rows[-1]
        print(
            f"{workers} workers: {row['step_seconds']:.3f} s a step, {row['images_per_second']:.1f} images/s "
            f"({row['images_per_second'] / rows[0]['images_per_second']:.2f}x), "
            f"collectives {row['collectives_share']:.1%}",
            flush=True,
        )
    result = {"cores": os.cpu_count(), "torch": torch.__version__, "preset": options.preset}
    result |= {"overrides": options.overrides, "rows": rows}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n")
    print(options.output)


if __name__ == "__main__":
    main()
