"""The class-wise memory bank of negative keys: one FIFO queue per class, all in one tensor."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.method import MemoryBankConfig


def capacities(config: MemoryBankConfig, num_classes: int) -> list[int]:
    """Keys kept per class: `capacity`, and `background_capacity` for the background class."""
    sizes = [config.capacity] * num_classes
    if config.background_class is not None and config.background_capacity is not None:
        if config.background_class >= num_classes:
            raise UserError(
                f"method.memory_bank.background_class={config.background_class}, but there are {num_classes} "
                f"classes: use 0..{num_classes - 1}, or null"
            )
        sizes[config.background_class] = config.background_capacity
    return sizes


EPS = 1e-8
"""Least norm of a feature, as in torch.cosine_similarity."""
_CHUNK = 1 << 20  # elements copied and written at a time


def normalize_(rows: Tensor) -> Tensor:
    """Scale float32 rows [K, D] to unit norm, in place (a row of norm below EPS is divided by EPS)."""
    return rows.div_(rows.norm(dim=1, keepdim=True).clamp_min_(EPS))


class MemoryBank:
    """One ring buffer per class, laid end to end in a flat tensor on the device.

    Class c owns the rows start[c] .. start[c] + capacity[c] - 1; its next key goes to row start[c] + head[c], and
    its fill[c] newest keys are kept. Memory: (sum(capacities) + 1) * (D * itemsize + 4) bytes; the one row more takes
    the writes of a push that are not to be kept, so that a push has the same shapes at every step.

    No method but `state_dict`, `load_state_dict` and `resize` synchronises the device.

    Attributes:
        keys: [sum(capacities) + 1, D], unit-norm rows (cosine similarity does not see the norm).
        steps: [sum(capacities) + 1] int32, optimizer step at which each row was pushed.
        start, capacity, head, fill: [C] int64.
        capacities: the same as `capacity`, on the host.
    """

    def __init__(
        self,
        capacities: Sequence[int],
        dim: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        """Empty queues.

        Args:
            capacities: most keys kept, per class; each at least 1.
            dim: D, length of a key.
            dtype: of the keys, float32 or bfloat16.
            device: where the bank lives.
        """
        if not capacities or min(capacities) < 1:
            raise ValueError(f"a memory bank needs a capacity of at least 1 for each class, not {list(capacities)}")
        self.dim = dim
        self._allocate(capacities, dtype, torch.device(device))

    def _allocate(self, capacities: Sequence[int], dtype: torch.dtype, device: torch.device) -> None:
        self.capacity = torch.tensor(capacities, dtype=torch.int64, device=device)
        self.start = self.capacity.cumsum(0) - self.capacity
        self.head = torch.zeros_like(self.capacity)
        self.fill = torch.zeros_like(self.capacity)
        self.capacities = tuple(capacities)
        self._total = sum(capacities)
        self._step_sum = torch.zeros_like(self.capacity)  # of the kept keys: the mean age without reading them all
        self.keys = torch.zeros(self._total + 1, self.dim, dtype=dtype, device=device)
        self.steps = torch.zeros(self._total + 1, dtype=torch.int32, device=device)

    def push(
        self,
        keys: Tensor,
        classes: Tensor,
        order: Tensor,
        counts: Tensor,
        step: int,
        source: Tensor | None = None,
    ) -> None:
        """Append keys, the oldest of a full queue falling out; of more than a queue holds, the last ones stay.

        Args:
            keys: [S, D] (or [U, D], with `source`), unit norm, any floating dtype.
            classes: [S] int64, the class of each row, class 0 first.
            order: [S] int64, the row's place among the rows of its class: 0, 1, 2, ... each once.
            counts: [C] int64; rows with order >= counts[class] are padding and are not pushed.
            step: optimizer step, for the age of the keys.
            source: [S] int64, the row of `keys` that each pushed row is a copy of; None: keys has them all, in order.

        Memory beyond the arguments: 160 * S bytes for indices, and 4 to 6 * max(2**20, D) bytes.
        """
        start, capacity, head, fill, count = (
            each.index_select(0, classes) for each in (self.start, self.capacity, self.head, self.fill, counts)
        )
        kept = (order < count) & (order >= count - capacity)
        row = start + (head + order) % capacity
        evicted = kept & ((order + fill) % capacity < fill)  # the row holds a key: its step leaves the sum
        row = torch.where(kept, row, self._total)
        gone = F.pad((evicted * self.steps.index_select(0, row)).cumsum(0), (1, 0))
        ends = torch.searchsorted(classes, torch.arange(len(counts), device=counts.device), right=True)
        self._step_sum += torch.minimum(counts, self.capacity) * step - gone[ends].diff(prepend=gone[:1])
        length = max(1, _CHUNK // self.dim)
        for first in range(0, len(row), length):
            part = slice(first, first + length)
            new = keys[part] if source is None else keys.index_select(0, source[part])
            self.keys.index_copy_(0, row[part], new.to(self.keys.dtype))
        self.steps.index_fill_(0, row, step)
        self.head = (self.head + counts) % self.capacity
        self.fill = torch.minimum(self.fill + counts, self.capacity)

    def rows(self, position: Tensor) -> Tensor:
        """Rows of `keys` for positions in each class's queue, 0 = oldest, below `fill`.

        Args:
            position: [C, ...] int32 or int64; the result is alike.
        """
        shape = (-1,) + (1,) * (position.dim() - 1)
        oldest = (self.head - self.fill) % self.capacity
        start, capacity, before_end = (
            each.to(position.dtype).view(shape) for each in (self.start, self.capacity, oldest - self.capacity)
        )
        # From the oldest key on, and round where that is not before the end: a division for each would cost more.
        place = position + before_end
        place += (place >> 31) & capacity  # the sign is all ones below 0
        return place.add_(start)

    def ages(self, step: int) -> Tensor:
        """Mean age of each class's keys at `step`, in optimizer steps: [C] float32, 0 for an empty queue."""
        total = self.fill * step - self._step_sum
        return (total / self.fill.clamp_min(1)).float()

    def queue(self, index: int) -> Tensor:
        """The keys of one class, oldest first: [fill, D]. For looking at; synchronises the device."""
        fill = int(self.fill[index])
        position = torch.arange(fill, device=self.fill.device)
        row = self.start[index] + (self.head[index] - fill + position) % self.capacity[index]
        return self.keys[row]

    def state_dict(self) -> dict[str, Tensor]:
        """The filled rows, class 0 first, oldest first (so that it loads into any capacities)."""
        classes, position = _slots(self.fill)
        row = self.start[classes] + (self.head[classes] - self.fill[classes] + position) % self.capacity[classes]
        return {"keys": self.keys[row], "steps": self.steps[row], "fill": self.fill.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replace the contents; where a queue held more than fits now, its newest keys are kept.

        Raises:
            UserError: if the state is of another number of classes or another key length.
        """
        device = self.keys.device
        keys, steps, fill = (state[name].to(device) for name in ("keys", "steps", "fill"))
        if fill.shape != self.fill.shape or keys.shape[1] != self.dim:
            raise UserError(
                f"the memory bank of the checkpoint has {len(fill)} classes and keys of length {keys.shape[1]}, this "
                f"configuration {len(self.fill)} and {self.dim}: use the data set and model.representation_dim it had"
            )
        classes, position = _slots(fill)
        kept = torch.minimum(fill, self.capacity)
        place = position - (fill - kept)[classes]
        row = torch.where(place >= 0, self.start[classes] + place, self._total)
        self.keys.index_copy_(0, row, keys.to(self.keys.dtype))
        self.steps.index_copy_(0, row, steps)
        self._step_sum = torch.zeros_like(fill).index_add_(0, classes, steps.long() * (place >= 0))
        self.fill, self.head = kept, kept % self.capacity

    def resize(self, capacities: Sequence[int]) -> None:
        """Change the capacities, keeping the newest keys of each queue."""
        if len(capacities) != len(self.capacity) or min(capacities) < 1:
            raise ValueError(f"cannot resize a memory bank of {len(self.capacity)} classes to {list(capacities)}")
        state = self.state_dict()
        self._allocate(capacities, self.keys.dtype, self.keys.device)
        self.load_state_dict(state)


def _slots(counts: Tensor) -> tuple[Tensor, Tensor]:
    """For counts [C]: the class and the place in the class of every row, class 0 first. Synchronises the device."""
    classes = torch.repeat_interleave(counts)
    return classes, torch.arange(len(classes), device=counts.device) - (counts.cumsum(0) - counts)[classes]
