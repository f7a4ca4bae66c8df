"""A collective between two workers of a cluster, and how fast it is."""

import os
import socket
import time
from datetime import timedelta
from typing import Any

FLOATS = 1 << 24
"""Elements that are summed over the two workers: 64 MiB, as the gradients of 17 M parameters."""
SECONDS = 60.0
_ROUNDS = 3


class End:
    """Actor: one of the two workers.

    Args:
        rank: 0 or 1; worker 0 listens for the other.
    """

    def __init__(self, rank: int) -> None:
        from u2pl_ray.train.process_group import choose_interface

        choose_interface()
        self._rank = rank

    def listen(self) -> str:
        """Return the address at which worker 0 will listen."""
        import ray

        address = ray.util.get_node_ip_address()
        with socket.socket() as probe:
            probe.bind((address, 0))
            return f"tcp://{address}:{probe.getsockname()[1]}"

    def measure(self, meeting: str, gpu: bool, floats: int = FLOATS) -> float:
        """Sum a tensor over both workers some times; return bytes a second of the fastest.

        Args:
            meeting: from worker 0's `listen`.
            gpu: with NCCL between GPUs; else with gloo between CPUs.
            floats: elements of the tensor, float32.
        """
        import torch
        from torch import distributed

        backend, device = ("nccl", "cuda") if gpu else ("gloo", "cpu")
        limit = timedelta(seconds=SECONDS)
        distributed.init_process_group(backend, init_method=meeting, world_size=2, rank=self._rank, timeout=limit)
        try:
            tensor, seconds = torch.ones(floats, device=device), []
            for _ in range(1 + _ROUNDS):
                begun = time.perf_counter()
                distributed.all_reduce(tensor)
                if gpu:
                    torch.cuda.synchronize()
                seconds.append(time.perf_counter() - begun)
            if (total := float(tensor[-1])) != 2.0 ** (1 + _ROUNDS):
                raise RuntimeError(f"the sum is {total:g}, not {2 ** (1 + _ROUNDS)}")
        finally:
            distributed.destroy_process_group()
        return 4 * floats / min(seconds[1:])


def start_pair(nodes: tuple[str, str], gpu: bool) -> list[Any]:
    """Start two workers, one on each node; they take no CPU, and one GPU each with `gpu`.

    Args:
        nodes: their Ray ids, which may be the same.
        gpu: whether the workers use GPUs.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    actor = ray.remote(num_cpus=0, num_gpus=int(gpu), max_restarts=0)(End)
    return [
        actor.options(
            scheduling_strategy=On(node, soft=False),
            runtime_env={"env_vars": {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}},
        ).remote(rank)
        for rank, node in enumerate(nodes)
    ]
