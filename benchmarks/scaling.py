"""Throughput with 1, 2 and 4 data-parallel CPU workers over one global batch, and the collectives' share of a step.

Two workers are compared with two trainings of one worker each that run beside each other: what cores that share a cache
and a memory can reach. Each with the same batch, and with half of it, which is what each of two workers has.

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
import tempfile
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


def measure(world_size: int, config: Config, copies: int = 1) -> dict[str, float]:
    """Medians over the timed epochs of `config` on `world_size` processes; of so many trainings beside each other."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            context.Process(target=work, args=(rank, world_size, f"{folder}/{copy}", config.model_dump_json(), results))
            for copy in range(copies)
            for rank in range(world_size)
        ]
        for process in processes:
            process.start()
        of_copies = [results.get(timeout=3600) for _ in range(copies)]
        for process in processes:
            process.join()
    rows = [row for of_copy in of_copies for row in of_copy]
    step = statistics.median(row[0] for row in rows)
    images = copies * (config.train.batch_size + config.train.unlabeled_batch_size)
    share = statistics.median(row[1] / row[0] for row in rows)
    return {
        "trainings": copies,
        "workers": world_size,
        "step_seconds": step,
        "images_per_second": images / step,
        "collectives_share": share,
    }


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="a.b=c")
    parser.add_argument("--preset", default="quickstart")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--epochs", type=int, default=3, help="timed epochs")
    parser.add_argument("--steps", type=int, default=8, help="steps of an epoch")
    parser.add_argument("--rounds", type=int, default=3, help="of all rows, one after the other")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "scaling_cpu.json")
    options = parser.parse_args()
    length = [f"train.epochs={options.epochs + 1}", f"train.steps_per_epoch={options.steps}", "method.warmup_epochs=0"]

    def config(*settings: str) -> Config:
        return resolve(load(options.preset, [*options.overrides, *length, *settings]))

    whole, most = config("workers=1").train, max(options.workers)
    share = [
        f"train.batch_size={whole.batch_size // 2}",
        f"train.unlabeled_batch_size={whole.unlabeled_batch_size // 2}",
    ]
    rounds = []
    for _ in range(options.rounds):
        rows = [measure(workers, config(f"workers={workers}")) for workers in options.workers]
        if most > 1:
            rows += [measure(1, config("workers=1"), 2), measure(1, config("workers=1", *share), 2)]
        rounds.append(rows)
        for row in rows:
            print(
                f"{row['trainings']} x {row['workers']} workers: {row['step_seconds']:.3f} s a step, "
                f"{row['images_per_second']:.1f} images/s, collectives {row['collectives_share']:.1%}",
                flush=True,
            )
    result = {"cores": os.cpu_count(), "torch": torch.__version__, "preset": options.preset}
    result |= {"overrides": options.overrides, "rounds": rounds}
    if 2 in options.workers:
        two = options.workers.index(2)
        for name, place in (("same batch each", -2), ("half of the batch each", -1)):
            ratios = [rows[two]["images_per_second"] / rows[place]["images_per_second"] for rows in rounds]
            result[f"2 workers against 2 trainings, {name}"] = ratios
            print(f"2 workers against 2 trainings beside each other, {name}: {', '.join(f'{it:.2f}' for it in ratios)}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n")
    print(options.output)


if __name__ == "__main__":
    main()
