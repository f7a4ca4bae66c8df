import time
from collections.abc import Iterator

import pytest
import torch

from u2pl_ray.train.data_wait import DataWait


def test_on_cpu_the_loader_alone_counts() -> None:
    def slow(count: int) -> Iterator[int]:
        for number in range(count):
            time.sleep(0.02)
            yield number

    waiting, seen = DataWait(torch.device("cpu")), []
    began = time.perf_counter()
    for number in waiting.over(slow(3)):
        seen.append(number)
        time.sleep(0.05)
    assert seen == [0, 1, 2]
    assert 0.06 <= waiting.seconds() <= time.perf_counter() - began - 0.15


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_that_is_busy_does_not_wait() -> None:
    """The host waits as long either way; a GPU with work queued for longer than that is not idle."""
    device, matrix = torch.device("cuda"), torch.randn(4096, 4096, device="cuda")

    def batches(seconds: float) -> Iterator[None]:
        for _ in range(4):
            time.sleep(seconds)
            yield None

    def idle(products: int) -> float:
        waiting = DataWait(device)
        for _ in waiting.over(batches(0.02)):
            for _ in range(products):
                matrix @ matrix
        torch.cuda.synchronize()
        return waiting.seconds()

    idle(1)
    assert idle(1) > 0.04
    assert idle(200) < 0.03  # the first wait comes before there is any work
