"""Whether a file's weights are those of an encoder, or only share many names and shapes with them."""

import re
from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor, nn

_LEAST = 0.5
"""Share of the encoder's numbers that must be found: with fewer, the file is of another network."""
_FEW = 2
"""Convolutions and linear layers that may stay random: a first layer of other channels, a block that was exchanged.
A deep stem in a plain ResNet's place leaves three."""
_SIZES: dict[tuple[int, ...], tuple[str, str]] = {
    (2, 2, 2, 2): ("18", ""),
    (3, 4, 6, 3): ("34", "50"),
    (3, 4, 23, 3): ("", "101"),
    (3, 8, 36, 3): ("", "152"),
}
"""ResNets by the blocks of their stages: with blocks of two and of three convolutions."""
_TELLING = ("conv1.weight", "conv1.6.weight", "layer1.0.conv3.weight")
_BLOCK = {"conv1", "bn1", "conv2", "bn2", "conv3", "bn3", "downsample"}


def misfit(encoder: nn.Module, absent: Sequence[str], given: Mapping[str, Tensor], own: Sequence[str]) -> str | None:
    """Say why the weights are not the encoder's; None if they are.

    Args:
        encoder: whose weights they should be.
        absent: its tensors that the file does not have, or has in another shape.
        given: the file's tensors.
        own: the encoder's tensors, in its order; named as `given` are.
    """
    total = sum(value.numel() for value in encoder.parameters())
    lost = sum(value.numel() for name, value in encoder.named_parameters() if name in set(absent))
    random = [name for name in _layers(encoder) if name in set(absent)]
    surplus = _surplus(given, own)
    if total - lost < _LEAST * total or len(random) > _FEW:
        what = f"{len(random)} layers would stay random ({_some(random or absent)})"
    elif len(surplus) > _FEW:
        what = f"{len(surplus)} layers of it have no place between the encoder's ({_some(surplus)})"
    else:
        return None
    fits = _resnet(given)
    return f"{what}; the file fits model.encoder={fits}" if fits else what


def _layers(encoder: nn.Module) -> Iterator[str]:
    """Yield the names of the weights of convolutions and linear layers."""
    for name, layer in encoder.named_modules():
        if isinstance(layer, nn.modules.conv._ConvNd | nn.Linear):
            yield f"{name}.weight"


def _surplus(given: Mapping[str, Tensor], own: Sequence[str]) -> list[str]:
    """Find weights of further blocks in stages that the encoder has, and goes on after.

    Blocks beyond the encoder's end are none: an encoder of less depth leaves them out.
    """
    places = {above for name in own for above in _above(name)}
    end = set(_above(own[-1]))
    return [
        name
        for name, value in given.items()
        if value.ndim > 1
        and any(
            above not in places and (stage := above.rpartition(".")[0]) in places and stage not in end
            for above in _above(name)
            if re.search(r"\.\d+$", above)
        )
    ]


def _above(name: str) -> list[str]:
    """Return the modules that a tensor lies in, from the outermost."""
    parts = name.split(".")[:-1]
    return [".".join(parts[: depth + 1]) for depth in range(len(parts))]


def _resnet(given: Mapping[str, Tensor]) -> str | None:
    """Name the plain ResNet, or the one with the deep stem of U2PL's and UniMatch's checkpoints, that they are of."""
    blocks = [{name.split(".")[1] for name in given if name.startswith(f"layer{stage}.")} for stage in range(1, 5)]
    size = _SIZES.get(tuple(map(len, blocks)))
    shapes = {name: tuple(given[name].shape) for name in _TELLING if name in given}
    if size is None or not _BLOCK.issuperset(name.split(".")[2] for name in given if name.startswith("layer1.0.")):
        return None
    if shapes == {"conv1.weight": (64, 3, 7, 7), "layer1.0.conv3.weight": (256, 64, 1, 1)}:
        return f"resnet{size[1]}" if size[1] else None
    if shapes == {"conv1.6.weight": (128, 64, 3, 3), "layer1.0.conv3.weight": (256, 64, 1, 1)}:
        return f"tu-resnet{size[1]}s" if size[1] else None
    return f"resnet{size[0]}" if size[0] and shapes == {"conv1.weight": (64, 3, 7, 7)} else None


def _some(names: Sequence[str]) -> str:
    return f"{names[0]}{' and more' if len(names) > 1 else ''}"
