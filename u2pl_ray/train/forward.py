"""Forward passes of a training's networks: compiled, in parts of a batch, data-parallel, under autocast."""

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from u2pl_ray.config.schema import Config
from u2pl_ray.models.dropout import Draws
from u2pl_ray.models.micro_batches import MicroBatches
from u2pl_ray.models.segmentor import Outputs


class Forward:
    """Student and teacher as the objective calls them in a training step.

    Args:
        config: gives compiling, the size of a batch's parts, the memory format, and the precision.
        student: a `Segmentor`, or what synchronised normalization made of it.
        teacher: the same, without gradient.
        draws: of the student.
        world_size: workers of the training.
        device: of this worker.
    """

    def __init__(
        self,
        config: Config,
        student: nn.Module,
        teacher: nn.Module,
        draws: Draws,
        world_size: int,
        device: torch.device,
    ) -> None:
        self._config, self._world_size, self._device = config, world_size, device
        networks: list[Any] = [student, teacher]
        if config.train.compile:
            networks = [torch.compile(each) for each in networks]
        if (size := config.train.micro_batch_size) is not None:
            networks = [MicroBatches(each, draws, size) for each in networks]
        self._student, self._teacher = networks
        self._parallel: DistributedDataParallel | None = None

    def student(self, warming_up: bool) -> Callable[..., Outputs]:
        """Return the student's forward pass in an epoch: (images, how many of them are perturbed) to outputs.

        Wrapped anew after the warm-up, in which the representation head gets no gradient.
        """
        find_unused = warming_up and self._config.method.contrasts
        if self._world_size == 1:
            return lambda *inputs: self._autocast(self._student, *inputs)
        if self._parallel is None or self._parallel.find_unused_parameters != find_unused:
            self._parallel = None  # its hooks must go before the next wrapper's come
            self._parallel = DistributedDataParallel(
                self._student,
                broadcast_buffers=False,  # `RunningStatistics` keeps them equal
                find_unused_parameters=find_unused,
                gradient_as_bucket_view=True,
            )
        return lambda *inputs: self._autocast(self._parallel, *inputs)

    def teacher(self, images: Tensor) -> Outputs:
        """Compute the teacher's outputs for images [B, C, H, W], without gradient."""
        with torch.no_grad():
            return self._autocast(self._teacher, images)

    def _autocast(self, network: Any, images: Tensor, perturbed: int = 0) -> Outputs:
        if self._config.train.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        kind = self._config.train.amp
        context: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        if kind != "none":
            context = torch.autocast(self._device.type, dtype=torch.bfloat16 if kind == "bf16" else torch.float16)
        with context:
            outputs: Outputs = network(images, perturbed) if perturbed else network(images)
        return outputs
