"""BatchNorm's running statistics in a data-parallel training, where every worker sees other images."""

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from u2pl_ray.method.collectives import Collectives


class RunningStatistics:
    """Running means and variances of a network, which differ between workers after a forward pass.

    There are none with one worker, where normalization is synchronised, or where all of it is frozen.

    Args:
        network: this worker's.
        collectives: of all workers.
        world_size: their number.
    """

    def __init__(self, network: nn.Module, collectives: Collectives, world_size: int) -> None:
        self._collectives, self._world_size = collectives, world_size
        self._layers: list[_BatchNorm] = []
        if world_size > 1 and not any(isinstance(module, nn.SyncBatchNorm) for module in network.modules()):
            self._layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]

    def average(self) -> None:
        """Give every worker the mean of all workers' statistics, so that teachers stay equal too."""
        # Layers in eval mode keep theirs; the mode is the same on all workers, so that all take part, or none.
        moving = [layer for layer in self._layers if layer.training]
        found = [value for layer in moving for value in (layer.running_mean, layer.running_var)]
        buffers: list[Tensor] = [value for value in found if value is not None]
        if buffers:
            for own, total in zip(buffers, self._collectives.sum(*buffers), strict=True):
                own.copy_(total / self._world_size)
