"""Dropout whose masks are a function of seed, layer name, step and image, never of what else was drawn.

torch's own layers draw from one global stream: a layer more or less shifts every draw that follows, and with it the
whole training. Here each layer has a stream of its own, drawn for the global batch, so that trainings that differ in a
head or in the number of workers meet the same masks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from u2pl_ray.rng import generator


@dataclass
class Draws:
    """Where a network is in its training: what its dropout layers draw from, shared by all of them.

    Attributes:
        seed: the training's.
        rank: of this worker.
        world_size: number of workers.
        step: global optimizer step.
        groups: images of this worker in each part of a batch (labeled, unlabeled, ...), in order. A part is the same
            slice of the global part on every worker; empty: the whole batch is one part.
        recomputed: some layers run again in the backward pass (activation checkpointing).
    """

    seed: int = 0
    rank: int = 0
    world_size: int = 1
    step: int = 0
    groups: tuple[int, ...] = ()
    recomputed: bool = False
    calls: dict[str, int] = field(default_factory=dict)
    """How often each layer has drawn in this step, less one."""
    _only: tuple[slice, int] | None = None
    _tickets: dict[int, tuple[int, tuple[slice, int] | None]] = field(default_factory=dict)
    """Of this step's draws: which call of its layer each one was, and for which part."""

    def start(self, step: int, *groups: int) -> None:
        """Begin a step whose forward passes see batches that are made of `groups`, the last one any number of times."""
        self.step, self.groups = step, groups
        self.calls.clear()
        self._tickets.clear()

    @contextmanager
    def only(self, chosen: slice, images: int, calls: dict[str, int]) -> Iterator[None]:
        """Show the network a part of its batch while the context lasts: it draws as if it saw all of it.

        Args:
            chosen: the images of the part.
            images: of the whole batch.
            calls: as they were before any part; so that all parts, and each again, meet the same draws.
        """
        self._only, self.calls = (chosen, images), dict(calls)
        try:
            yield
        finally:
            self._only = None

    @torch.compiler.disable
    def keep(self, layer: str, probability: float, like: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Draw which values stay: [images, *shape] float32 of 0 and 1, for this worker's images.

        Args:
            layer: qualified name of the layer.
            probability: of a value to stay.
            like: [images, ...], what is dropped from.
            shape: of the draw for one image.
        """
        call, only = self._place(layer)
        parts = []
        for part, images in enumerate(self._parts(len(like) if only is None else only[1])):
            draws = generator(like.device, self.seed, self.step, f"dropout/{layer}/{call}/{part}")
            whole = torch.empty(images * self.world_size, *shape, device=like.device)
            whole.bernoulli_(probability, generator=draws)
            parts.append(whole[self.rank * images : (self.rank + 1) * images])
        keep = parts[0] if len(parts) == 1 else torch.cat(parts)
        return keep if only is None else keep[only[0]]

    def _place(self, layer: str) -> tuple[int, tuple[slice, int] | None]:
        """Say which of the layer's calls in this step this is, and which part of the batch it sees.

        A call that only repeats another one has that one's place. Checkpointing restores torch's global generator
        before it runs a layer again, so a number drawn from there is the same both times, and at no other call.
        """
        ticket = int(torch.randint(2**62, ())) if self.recomputed else None
        if ticket is not None and ticket in self._tickets:
            return self._tickets[ticket]
        call = self.calls[layer] = self.calls.get(layer, -1) + 1
        if ticket is not None:
            self._tickets[ticket] = call, self._only
        return call, self._only

    def _parts(self, images: int) -> list[int]:
        parts: list[int] = []
        for size in self.groups:
            if images >= size > 0:
                parts.append(size)
                images -= size
        while images and self.groups and images >= self.groups[-1] > 0:
            parts.append(self.groups[-1])
            images -= self.groups[-1]
        return [*parts, images] if images or not parts else parts


class NamedDropout(nn.Module):
    """Sets values, whole channels or whole images to 0 and scales the rest up: by masks of its own stream.

    Args:
        name: the layer's, qualified.
        p: probability of a value to be dropped.
        kind: what is dropped together: nothing (element), a channel's map, or all of an image.
        draws: of the network.
    """

    def __init__(self, name: str, p: float, kind: str, draws: Draws) -> None:
        super().__init__()
        self.name, self.p, self.kind, self.draws = name, p, kind, draws

    def forward(self, values: Tensor) -> Tensor:
        """[images, channels, ...] to the same shape; the identity in eval mode and for p = 0."""
        if not self.training or self.p == 0.0:
            return values
        once = {"element": 0, "channel": 2, "image": 1}[self.kind]  # dimensions from there on share a draw
        shape = tuple(size if not once or axis < once else 1 for axis, size in enumerate(values.shape))[1:]
        keep = self.draws.keep(self.name, 1.0 - self.p, values, shape)
        return values * keep.div_(1.0 - self.p).to(values.dtype)

    def extra_repr(self) -> str:
        """Show the settings in the printed network."""
        return f"p={self.p}, kind={self.kind}"


def name_dropout(network: nn.Module, draws: Draws, prefix: str = "") -> None:
    """Replace every Dropout, Dropout2d and DropPath below `network` by a `NamedDropout`, in place.

    Args:
        network: whose layers' names are the streams.
        draws: what they are to draw from.
        prefix: name of `network` itself, with a dot.
    """
    for name, child in network.named_children():
        path = f"{prefix}{name}"
        if isinstance(child, nn.Dropout):
            setattr(network, name, NamedDropout(path, child.p, "element", draws))
        elif isinstance(child, nn.Dropout2d):
            setattr(network, name, NamedDropout(path, child.p, "channel", draws))
        elif isinstance(child, DropPath) and child.scale_by_keep:
            setattr(network, name, NamedDropout(path, child.drop_prob, "image", draws))
        else:
            name_dropout(child, draws, f"{path}.")
