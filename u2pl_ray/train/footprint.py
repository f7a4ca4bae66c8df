"""How large a training's checkpoints are, before there is one."""

import torch

from u2pl_ray.config.schema import Config
from u2pl_ray.method.memory_bank import capacities
from u2pl_ray.models.segmentor import Segmentor

_FLOAT = 4


def checkpoint_bytes(config: Config) -> int:
    """Bytes of one checkpoint: student, teacher, momentum, and a full memory bank; from the network's shapes alone."""
    classes = len(config.data.classes)
    contrasts = config.method.contrasts
    with torch.device("meta"):
        network = Segmentor(config.model.model_copy(update={"encoder_weights": None}), classes, contrasts)
    weights = sum(parameter.numel() for parameter in network.parameters())
    buffers = sum(buffer.numel() for buffer in network.buffers())
    total = _FLOAT * (3 * weights + 2 * buffers)
    if contrasts:
        key = config.model.representation_dim * (2 if config.method.memory_bank.key_dtype == "bfloat16" else _FLOAT)
        total += sum(capacities(config.method.memory_bank, classes)) * (key + _FLOAT)  # and the step it was pushed
    return total
