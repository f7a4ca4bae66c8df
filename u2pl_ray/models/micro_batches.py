"""Gradient accumulation: a batch goes through the network in parts, and its gradient is that of the whole.

The losses are normalised, ranked and drawn over the global batch, so they need all outputs before any gradient. Hence
two passes, as in gradient caching (Gao et al., RepL4NLP 2021): the first keeps a part's outputs and forgets its
activations; the backward pass computes them again, one part at a time.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from u2pl_ray.models.dropout import Draws
from u2pl_ray.models.segmentor import Outputs


class MicroBatches(nn.Module):
    """A network that is shown at most `size` images at once.

    Outputs and gradients are those of one pass, dropout included, but for BatchNorm in training mode: its statistics
    are of a part, and follow it in the first pass alone. Part k of n takes every n-th image from k on, so that each has
    its share of the labeled ones. Time: one forward pass more; memory: the activations of one part, all outputs.

    Args:
        network: a `Segmentor`, compiled or not.
        draws: of that network.
        size: most images of a part.
    """

    def __init__(self, network: nn.Module, draws: Draws, size: int) -> None:
        super().__init__()
        self.network, self.draws, self.size = network, draws, size

    def forward(self, images: Tensor, perturbed: int = 0) -> Outputs:
        """Compute `Segmentor.forward(images, perturbed)`."""
        count = parts(len(images), self.size)
        if count == 1:
            return self._show(images, perturbed)
        calls = dict(self.draws.calls)
        outputs: list[Any] = [self._part(images, perturbed, part, count, calls) for part in range(count)]
        place = _places(len(images), count, images.device)
        fields: list[Any] = [
            None if field[0] is None else torch.cat(field)[place] for field in zip(*outputs, strict=True)
        ]
        return Outputs(*fields)

    def _part(self, images: Tensor, perturbed: int, part: int, count: int, calls: dict[str, int]) -> Any:
        """Show the network one part, and keep nothing of it but the outputs."""
        chosen = slice(part, None, count)
        whole = len(range(part, len(images) - perturbed, count))
        of_part = images[chosen], len(range(part, len(images), count)) - whole, chosen, len(images), calls
        if not torch.is_grad_enabled():
            return self._show_part(*of_part)
        return checkpoint(
            self._show_part, *of_part, use_reentrant=False, context_fn=lambda: (nullcontext(), self._statistics_stay())
        )

    def _show_part(self, images: Tensor, perturbed: int, chosen: slice, total: int, calls: dict[str, int]) -> Outputs:
        with self.draws.only(chosen, total, calls):
            return self._show(images, perturbed)

    def _show(self, images: Tensor, perturbed: int) -> Outputs:
        outputs: Outputs = self.network(images, perturbed) if perturbed else self.network(images)
        return outputs

    @contextmanager
    def _statistics_stay(self) -> Iterator[None]:
        """While the context lasts, BatchNorm uses a part's statistics without another step of the running ones."""
        layers = [layer for layer in self.network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
        before = [(layer.momentum, layer.num_batches_tracked) for layer in layers]
        for layer in layers:
            layer.momentum = 0.0
            if layer.num_batches_tracked is not None:  # SyncBatchNorm insists on a counter: give it one to throw away
                layer.num_batches_tracked = layer.num_batches_tracked.clone()
        try:
            yield
        finally:
            for layer, (momentum, steps) in zip(layers, before, strict=True):
                layer.momentum, layer.num_batches_tracked = momentum, steps


def parts(images: int, size: int | None) -> int:
    """Count the parts of a batch of `images`, of which a network is shown `size` at once (None: all)."""
    return 1 if size is None else max(1, -(-images // size))


def _places(images: int, count: int, device: torch.device) -> Tensor:
    """Say where each image is among the parts, one after the other: [images] int64. The device is not waited for."""
    index = torch.arange(images, device=device)
    part = index % count
    return part * (images // count) + part.clamp_max(images % count) + index // count
