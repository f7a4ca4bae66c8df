"""The method's two collectives: gather small maps, sum features. Each packs all its tensors into one message.

Everything the method normalises by, ranks or draws from is global, so that the gradient for a global batch does not
depend on how many workers share it (see `objective`).
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

_ALIGNMENT = 8  # bytes: a packed tensor starts where any dtype may be viewed


@dataclass(frozen=True)
class Collectives:
    """Collective operations among the data-parallel workers; on a single worker they are the identity.

    Attributes:
        device: device of the tensors that go in and come out.
        rank: this worker's number, 0 <= rank < world_size.
        world_size: number of workers.
    """

    device: torch.device
    rank: int = 0
    world_size: int = 1

    @classmethod
    def from_process_group(cls, device: torch.device | str) -> "Collectives":
        """Over the default process group if there is one (gloo for CPU, nccl for CUDA), else a single worker."""
        if dist.is_available() and dist.is_initialized():
            return cls(torch.device(device), dist.get_rank(), dist.get_world_size())
        return cls(torch.device(device))

    def gather(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Each tensor of all workers, concatenated along dimension 0 in rank order. No gradient; bit-exact.

        Any dtypes, at least one dimension, shapes equal on all workers. One `all_gather_into_tensor` of bytes.
        """
        if self.world_size == 1:
            return tuple(tensor.detach() for tensor in tensors)
        pieces, spans, offset = [], [], 0
        for tensor in tensors:
            piece = tensor.detach().contiguous().view(-1).view(torch.uint8)
            spans.append((offset, piece.numel()))
            padding = -piece.numel() % _ALIGNMENT
            pieces += [piece, piece.new_zeros(padding)] if padding else [piece]
            offset += piece.numel() + padding
        packed = torch.cat(pieces) if pieces else torch.empty(0, dtype=torch.uint8, device=self.device)
        gathered = packed.new_empty(self.world_size * offset)
        dist.all_gather_into_tensor(gathered, packed)
        rows = gathered.view(self.world_size, offset)
        return tuple(
            rows[:, start : start + size].contiguous().view(tensor.dtype).view(-1, *tensor.shape[1:])
            for tensor, (start, size) in zip(tensors, spans, strict=True)
        )

    def sum(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Each tensor summed over the workers, as float32. No gradient. One `all_reduce` of a packed buffer.

        Shapes equal on all workers, zero dimensions allowed. Counts are exact up to 2**24. Every worker gets the same
        bits; adding zeros to one worker's values returns these values exactly.
        """
        if self.world_size == 1:
            return tuple(tensor.detach().float() for tensor in tensors)
        packed = torch.cat([tensor.detach().reshape(-1).float() for tensor in tensors])
        dist.all_reduce(packed)
        parts = packed.split([tensor.numel() for tensor in tensors])
        return tuple(part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True))

    def own(self, batch: Tensor) -> Tensor:
        """This worker's slice of a tensor that has a row for every image of the global batch (dimension 0)."""
        share = batch.shape[0] // self.world_size
        return batch[self.rank * share : (self.rank + 1) * share]
