"""Initial weights as a function of seed and module name: a module more or less changes no other module's weights."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from u2pl_ray.rng import derived_seed


@contextmanager
def weights_drawn_from(seed: int, name: str) -> Iterator[None]:
    """Let torch's global CPU generator draw what (seed, name) says, and restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derived_seed(seed, 0, f"weights/{name}"))
        yield


def draw_weights(network: nn.Module, seed: int, prefix: str, rule: Callable[[nn.Module], None] | None = None) -> None:
    """Draw the weights of every layer below `network` anew, each by its own qualified name.

    Args:
        network: its layers' `reset_parameters` draw.
        seed: the training's.
        prefix: name of `network` itself.
        rule: is called on each layer after that; it may draw again by another distribution.
    """
    for name, layer in network.named_modules():
        if callable(reset := getattr(layer, "reset_parameters", None)):
            with weights_drawn_from(seed, f"{prefix}.{name}" if name else prefix):
                reset()
                if rule is not None:
                    rule(layer)
