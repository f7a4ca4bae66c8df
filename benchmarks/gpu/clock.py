"""The device's own clock, and its memory."""

import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import torch


def step_milliseconds(step: Callable[[], object], device: torch.device, warmup: int, steps: int) -> float:
    """Median time of a step, in ms, over `steps` of them after `warmup`, without waiting for the device in between."""
    for _ in range(warmup):
        step()
    if device.type != "cuda":
        marks = [time.perf_counter()]
        for _ in range(steps):
            step()
            marks.append(time.perf_counter())
        return 1e3 * statistics.median(after - before for before, after in pairwise(marks))
    torch.cuda.synchronize(device)
    events = [torch.cuda.Event(enable_timing=True) for _ in range(steps + 1)]
    events[0].record()
    for event in events[1:]:
        step()
        event.record()
    torch.cuda.synchronize(device)
    return statistics.median(before.elapsed_time(after) for before, after in pairwise(events))


def forget_peak(device: torch.device) -> None:
    """Give cached memory back, and begin to count the peak anew."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_gib(device: torch.device) -> float | None:
    """Greatest memory of tensors since `forget_peak`, in GiB; None on CPU."""
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
