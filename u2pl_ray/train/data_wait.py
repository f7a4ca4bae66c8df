"""How long a device waits for its data."""

import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import torch

T = TypeVar("T")


class DataWait:
    """Adds up how long a device has nothing to do because the next batch is not there yet.

    A GPU works behind the host, so that the host's wait says little: what counts is the time on the GPU's own clock
    between the end of one step and the arrival of the next batch. It is read at the end, without a synchronisation on
    the way. On CPU it is the host's time in the loader, decoding in the training's own process included.

    Args:
        device: of the training.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._host = 0.0
        self._pairs: list[tuple[Any, Any]] = []

    def over(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield the batches; the caller has queued a step's work when it asks for the next one."""
        remaining = iter(batches)
        while True:
            ended, began = self._now(), time.perf_counter()
            try:
                batch = next(remaining)
            except StopIteration:
                return
            self._host += time.perf_counter() - began
            self._pairs.append((ended, self._now()))
            yield batch

    def seconds(self) -> float:
        """Return the time waited; the device must have done all its work."""
        if not self._cuda:
            return self._host
        return sum(ended.elapsed_time(came) for ended, came in self._pairs) / 1000

    def _now(self) -> Any:
        """Mark this place in the GPU's work."""
        if not self._cuda:
            return None
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
