"""Real processes with gloo between them, for what must not depend on their number."""

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

PRELOAD = [
    "torch._dynamo",
    "u2pl_ray.method.objective",
    "u2pl_ray.train.loop",
    "segmentation_models_pytorch",
    "albumentations",
]
"""What some process needs, and takes long to import; DDP needs the first."""
TIMEOUT = 120.0
"""Seconds until processes that have not ended count as hanging."""


def launch(world_size: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """`function(*arguments)` in `world_size` processes of one group; what each returns, by rank.

    The function must be importable, and its results be tensors, numbers, strings, lists and dicts of them.
    """
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    context = multiprocessing.get_context("forkserver")  # imports once, and forks from there
    context.set_forkserver_preload(PRELOAD)
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            context.Process(target=_work, args=(rank, world_size, folder, function, arguments), daemon=True)
            for rank in range(world_size)
        ]
        for process in processes:
            process.start()
        deadline = time.monotonic() + TIMEOUT
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
        hanging = [process for process in processes if process.exitcode is None]
        for process in hanging:
            process.kill()
        codes = [process.exitcode for process in processes]
        assert not any(codes), f"exit codes by rank: {codes} (None: killed after {TIMEOUT} s)"
        return [torch.load(Path(folder, str(rank))) for rank in range(world_size)]


def _work(rank: int, world_size: int, folder: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size)
    try:
        torch.save(function(*arguments), Path(folder, str(rank)))
    finally:
        dist.destroy_process_group()
