"""BatchNorm's running statistics in a data-parallel training, where every worker sees other images."""

from torch import Tensor, nn

from u2pl_ray.method.collectives import Collectives


class RunningStatistics:
    """Floating-point buffers of a network that differ between workers after a forward pass.

    There are none with one worker, or where normalization is synchronised.

    Args:
        network: this worker's.
        collectives: of all workers.
        world_size: their number.
    """

    def __init__(self, network: nn.Module, collectives: Collectives, world_size: int) -> None:
        self._collectives, self._world_size = collectives, world_size
        self._buffers: list[Tensor] = []
        if world_size > 1 and not any(isinstance(module, nn.SyncBatchNorm) for module in network.modules()):
            self._buffers = [value for value in network.buffers() if value.is_floating_point()]

    def average(self) -> None:
        """Give every worker the mean of all workers' statistics, so that teachers stay equal too."""
        if self._buffers:
            for own, total in zip(self._buffers, self._collectives.sum(*self._buffers), strict=True):
                own.copy_(total / self._world_size)
