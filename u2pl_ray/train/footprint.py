"""How large a training's checkpoints are, before there is one."""

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.data.loaders import steps_per_epoch
from u2pl_ray.data.voc import open_training_splits
from u2pl_ray.method.memory_bank import capacities
from u2pl_ray.models.segmentor import blank

_FLOAT = 4


def checkpoint_bytes(config: Config) -> int:
    """Return the bytes of a training's last checkpoint: student, teacher, optimizer, and the memory bank's keys.

    From the network's shapes alone. Earlier ones are smaller, as the memory bank fills by and by.
    """
    network = blank(config.model, len(config.data.classes), config.method.contrasts, config.data.channels)
    weights = sum(parameter.numel() for parameter in network.parameters())
    buffers = sum(buffer.numel() for buffer in network.buffers())
    learning = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    moments = 2 if config.optim.name == "adamw" else int(config.optim.momentum > 0)
    return _FLOAT * (2 * (weights + buffers) + moments * learning) + bank_bytes(config)


def bank_bytes(config: Config) -> int:
    """Return the bytes of the memory bank in a training's last checkpoint at most; 0 for methods without one.

    A queue holds what its capacity allows, and no more than `push_cap` keys for each step after the warm-up.
    """
    if not config.method.contrasts:
        return 0
    bank = config.method.memory_bank
    key = config.model.representation_dim * (2 if bank.key_dtype == "bfloat16" else _FLOAT)
    sizes = capacities(bank, len(config.data.classes))
    if bank.push_cap is not None and (steps := _contrasting_steps(config)) is not None:
        sizes = [min(size, bank.push_cap * steps) for size in sizes]
    return sum(sizes) * (key + _FLOAT)  # and the step of its push


def _contrasting_steps(config: Config) -> int | None:
    """Return the steps after the warm-up; None if the data cannot be counted now."""
    try:
        unlabeled = 0 if config.train.steps_per_epoch else len(open_training_splits(config.data)[1])
    except UserError:
        return None
    return (config.train.epochs - config.method.warmup_epochs) * steps_per_epoch(config, unlabeled)
