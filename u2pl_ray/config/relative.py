"""Relative paths in a configuration file belong to its folder, and not to where the command runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from u2pl_ray.system.stores import is_uri

WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")
"""Of files of pretrained weights."""
_LOCAL = "tu-local-dir:"


def looks_like_path(weights: str) -> bool:
    """Tell whether `model.encoder_weights` is written as a file or folder, not as a name."""
    return "/" in weights or weights.startswith(("~", ".")) or weights.endswith(WEIGHT_SUFFIXES)


def beside(tree: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the settings with data.root and the encoder's files taken from `folder`, where they are relative.

    Args:
        tree: settings of a file.
        folder: the file's.
    """
    result = dict(tree)
    if isinstance(data := tree.get("data"), Mapping) and isinstance(root := data.get("root"), str) and root:
        result["data"] = {**data, "root": _within(folder, root)}
    if isinstance(model := tree.get("model"), Mapping):
        changed = dict(model)
        weights, encoder = model.get("encoder_weights"), model.get("encoder")
        if isinstance(weights, str) and looks_like_path(weights):
            changed["encoder_weights"] = _within(folder, weights)
        if isinstance(encoder, str) and encoder.startswith(_LOCAL):
            changed["encoder"] = _LOCAL + _within(folder, encoder.removeprefix(_LOCAL))
        result["model"] = changed
    return result


def _within(folder: Path, path: str) -> str:
    return path if is_uri(path) or Path(path).expanduser().is_absolute() else str(folder / path)
