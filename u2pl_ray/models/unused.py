"""Parameters that no output of a network depends on, such as the stages that a decoder does not look at."""

import torch
from torch import nn

from u2pl_ray.models.segmentor import STRIDE


def freeze_unused(network: nn.Module, channels: int, crop: int) -> list[str]:
    """Take `requires_grad` from the parameters that get no gradient from any output; return their names.

    An optimizer passes over a parameter without a gradient, so nothing is computed differently. But
    `DistributedDataParallel` waits for the gradient of every parameter that asks for one.

    They are found by one backward pass, in eval mode, which leaves statistics and generators as they are.

    Args:
        network: a `Segmentor`, or what data-parallel conversion made of it.
        channels: of its images.
        crop: side in pixels of the images it certainly takes; smaller ones are tried first.
    """
    mode = network.training
    network.eval()
    network.training = True  # itself alone: the auxiliary head is asked too
    try:
        try:
            _backward(network, channels, min(2 * STRIDE, crop))
        except (ValueError, RuntimeError, AssertionError):  # an encoder of a fixed input size
            _backward(network, channels, crop)
        unused = [(name, each) for name, each in network.named_parameters() if each.requires_grad and each.grad is None]
    finally:
        network.zero_grad(set_to_none=True)
        network.train(mode)
    for _, parameter in unused:
        parameter.requires_grad_(False)
    return [name for name, _ in unused]


def _backward(network: nn.Module, channels: int, side: int) -> None:
    device = next(network.parameters()).device
    outputs = network(torch.zeros(1, channels, side, side, device=device))
    torch.stack([output.float().sum() for output in outputs if output is not None]).sum().backward()
