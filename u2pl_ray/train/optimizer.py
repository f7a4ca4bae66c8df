"""The optimizer: SGD or AdamW, heads faster than the encoder, early layers of the encoder slower."""

import re
from typing import Any

import torch
from torch import nn

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import OptimConfig

_LAYER = re.compile(
    r"(?:^|\.)(?:(?:_?blocks|stages|layers|features)[._]|(?:layer|stage|block|denseblock|transition)|s(?=\d+\.b\d))(\d+)(?=[._]|$)"
    r"|^(?:patch_embed|norm)(\d+)\."  # of a Mix Transformer, whose parts are not in the order of its forward pass
)
"""Of timm's and smp's encoders; `s1.b1` are RegNet's."""


def build_optimizer(config: OptimConfig, network: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer that `optim.name` names, over the groups of `parameter_groups`.

    Args:
        config: the optim section.
        network: a `Segmentor`, or what data-parallel conversion made of it.
    """
    groups = parameter_groups(config, network)
    if config.name == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)


def parameter_groups(config: OptimConfig, network: nn.Module) -> list[dict[str, Any]]:
    """Group the parameters by learning rate.

    Layer d of the encoder's 0..n learns at lr * layer_decay ** (n - d), everything behind it at lr * head_multiplier
    (layer-wise decay: Clark et al., ELECTRA, ICLR 2020; Bao et al., BEiT, ICLR 2022).

    Args:
        config: lr, head_multiplier and layer_decay.
        network: its `encoder` is the encoder.

    Returns:
        Groups for torch's optimizers, the encoder's first layer first, the heads last.

    Raises:
        UserError: layer_decay is not 1, and the encoder's layers are not known.
    """
    encoder = list(network.encoder.named_parameters())  # type: ignore[union-attr]
    known = {id(parameter) for _, parameter in encoder}
    heads = [parameter for parameter in network.parameters() if id(parameter) not in known]
    depths = [0] * len(encoder) if config.layer_decay == 1.0 else layer_depths([name for name, _ in encoder])
    last = max(depths)
    if last == 0 and config.layer_decay != 1.0:
        raise UserError(
            "optim.layer_decay: the layers of this encoder are not known; leave it at 1, or change model.encoder"
        )
    groups: list[dict[str, Any]] = []
    for depth in sorted(set(depths)):
        members = [parameter for (_, parameter), own in zip(encoder, depths, strict=True) if own == depth]
        groups.append({"params": members, "lr": config.lr * config.layer_decay ** (last - depth)})
    return [*groups, {"params": heads, "lr": config.lr * config.head_multiplier}]


def layer_depths(names: list[str]) -> list[int]:
    """Number the encoder's layers by its parameters' names, in order.

    0 is what comes before the first numbered stage (of a CNN) or block (of a transformer): stem, patch and position
    embedding. What comes after the last of them, such as a final norm, counts as the last.

    Args:
        names: parameters of an encoder, in the order of its forward pass.
    """
    depths, numbers = [], [int(found[1] or found[2]) if (found := _LAYER.search(name)) else None for name in names]
    present = sorted({number for number in numbers if number is not None})
    place = {number: index + 1 for index, number in enumerate(present)}
    begun = False
    for number in numbers:
        begun = begun or number is not None
        depths.append(place[number] if number is not None else len(present) if begun else 0)
    return depths
