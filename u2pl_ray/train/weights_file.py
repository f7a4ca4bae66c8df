"""One network as a safetensors file with its configuration: to predict with, to score, to start an encoder from.

The tensors are the network's without its representation head, which predictions do not need. The file's metadata
hold, as text, `config` (JSON), `network` (teacher or student), `epochs_done` and `u2pl_ray` (the format).
"""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.overrides import validate
from u2pl_ray.config.schema import Config, TrackingConfig
from u2pl_ray.models.segmentor import Segmentor
from u2pl_ray.system.atomic import write_whole
from u2pl_ray.system.home import under_home

SUFFIX = ".safetensors"
FORMAT = "1"
_HEAD = "representation."


def write_weights(target: Path, network: Segmentor, config: Config, name: str, epochs_done: int) -> None:
    """Write a network's weights and configuration, completely or not at all.

    Args:
        target: the file.
        network: whose state is written.
        config: it was trained with; paths below the home folder are written with `~`, and no W&B account is named.
        name: teacher or student.
        epochs_done: epochs of its training.

    Raises:
        UserError: the file cannot be written.
    """
    from safetensors.torch import save

    tensors = {
        key: value.detach().cpu().contiguous()
        for key, value in network.state_dict().items()
        if not key.startswith(_HEAD)
    }
    metadata = {
        "format": "pt",  # what other readers look for
        "u2pl_ray": FORMAT,
        "config": json.dumps(_public(config)),
        "network": name,
        "epochs_done": str(epochs_done),
    }
    try:
        write_whole(target, save(tensors, metadata))
    except OSError as error:
        raise UserError(f"--weights {target}: {error.strerror or error}") from None


def read_weights(source: Path) -> tuple[dict[str, Tensor], Config, str, int]:
    """Read what `write_weights` wrote: tensors on the CPU, configuration, network's name, epochs done.

    Raises:
        UserError: not a safetensors file, or not one of ours.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(source, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (no mapping)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{source}: not a readable safetensors file ({error})") from None
    if metadata.get("u2pl_ray") != FORMAT:
        raise UserError(
            f"{source}: holds no configuration of ours (format {FORMAT}): `u2pl-ray export NAME --weights FILE` writes "
            "files that do; weights of others can only start an encoder (model.encoder_weights)"
        )
    config = validate(json.loads(metadata["config"]), f"{source}: its config")
    return tensors, config, metadata["network"], int(metadata["epochs_done"])


def _public(config: Config) -> Any:
    """Return the configuration as plain data that names no account."""
    data = config.data.model_copy(
        update={
            key: under_home(value)
            for key in ("root", "images", "labels", "labeled", "unlabeled", "val", "test")
            if isinstance(value := getattr(config.data, key), str)
        }
    )
    weights = config.model.encoder_weights
    model = config.model.model_copy(update={"encoder_weights": weights and under_home(weights)})
    update = {"data": data, "model": model, "tracking": TrackingConfig()}
    return config.model_copy(update=update).model_dump(mode="json")
