"""Pretrained weights of an encoder from a file, a folder, a package or a name; what fitted, and what did not."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from u2pl_ray.config.errors import UserError, nearest, short_of_memory
from u2pl_ray.config.relative import WEIGHT_SUFFIXES, looks_like_path
from u2pl_ray.config.schema import ModelConfig
from u2pl_ray.models.fit import misfit
from u2pl_ray.models.lite import ENCODER, read_package_weights

PACKAGE = "package"
"""Value of `model.encoder_weights` for the weights that `u2pl_ray[weights]` installs."""
_FILES = ("checkpoint.pt", "model.safetensors", "pytorch_model.bin")
"""What a folder is looked through for first: a training's checkpoint, an export, a hub's snapshot."""
_NESTS = (
    "teacher", "teacher_state", "model_ema", "ema", "ema_state_dict", "state_dict_ema",
    "student", "model_state", "model", "state_dict", "net",
)  # fmt: skip
"""Keys under which checkpoints keep a network, the teacher's (EMA) before the student's."""
_PREFIX = re.compile(r"^(?:module|_orig_mod|model|net|student|teacher|encoder|backbone|body)\.")
_STAGE = re.compile(
    r"^(stem|head|patch_embed|features|levels|stages|layers|blocks)_|(?<=[._])(stages|layers|blocks|features)_(?=\d)"
)
"""What timm flattens where it makes an encoder: `stem.0` is `stem_0` there, `features.conv0` is `features_conv0`."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightsReport:
    """What became of pretrained weights: names as the encoder has them, and as the file has them."""

    source: str
    """The file, and under which of its keys the network was."""
    matched: int
    """Tensors of the encoder that were filled."""
    missing: tuple[str, ...]
    """Tensors of the encoder that the file does not have: they stay random."""
    reshaped: tuple[str, ...]
    """Tensors that both have, with different shapes: left out."""
    unused: tuple[str, ...]
    """Tensors of the file that the encoder has no place for: classifiers, decoders."""

    def lines(self) -> list[str]:
        """Say it for people."""
        out = [f"pretrained weights: {self.matched} tensors of the encoder from {self.source}"]
        out += [f"  {line}" for line in self.random()]
        return [*out, *([f"  not used, no place in the encoder: {_listed(self.unused)}"] if self.unused else [])]

    def random(self) -> list[str]:
        """Say which tensors stay random; nothing if there are none."""
        kinds = ("stay random, absent there", self.missing), ("stay random, of another shape there", self.reshaped)
        return [f"{words}: {_listed(names)}" for words, names in kinds if names]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def is_name(weights: str) -> bool:
    """Tell whether `model.encoder_weights` is the name of weights to download, not a file, folder or package."""
    return weights != PACKAGE and not looks_like_path(weights)


def check_name(config: ModelConfig) -> None:
    """Refuse a name of weights that the encoder does not have.

    Raises:
        UserError: names `model.encoder_weights` and the available ones.
    """
    from segmentation_models_pytorch.encoders import encoders

    weights, encoder = config.encoder_weights, config.encoder
    if weights is None or not is_name(weights):
        return
    if encoder.startswith("tu-local-dir:"):
        return
    if encoder in encoders:
        known = list(encoders[encoder]["pretrained_settings"])
    elif encoder.startswith("tu-"):
        import timm

        known = ["imagenet"] if timm.models.is_model_pretrained(encoder[3:]) else []
    else:  # an older name of timm's, which smp translates
        known = ["imagenet"]
    if weights not in known:
        choice = f"{encoder} has {', '.join(known)}" if known else f"{encoder} has none to download"
        if Path(weights).exists():
            choice += f"; what is in this folder is written ./{weights}"
        raise UserError(
            f"model.encoder_weights={weights}: no such weights{nearest(weights, known)} "
            f"({choice}; write null for random weights, or give a file)"
        )


def load_encoder_weights(encoder: nn.Module, config: ModelConfig) -> WeightsReport:
    """Fill `encoder` from the file, folder or package that `model.encoder_weights` names; logs the report.

    Args:
        encoder: an smp encoder, before its normalisation layers are exchanged.
        config: gives `encoder` and `encoder_weights`, which is no name.

    Raises:
        UserError: no such file, not a file of weights, or of another network.
    """
    weights = str(config.encoder_weights)
    if weights == PACKAGE:
        if config.encoder != ENCODER:
            raise UserError(f"model.encoder_weights=package: these are of model.encoder={ENCODER}")
        source, state = "the installed package", read_package_weights()
    else:
        source, state = _read(weights)
    names = _names(state)
    report = _fill(encoder, state, names, source)
    absent = (*report.missing, *report.reshaped)
    given = {short: state[name] for short, name in names.items()}
    if (reason := misfit(encoder, absent, given, [*map(canonical, encoder.state_dict())])) is not None:
        raise UserError(
            f"model.encoder_weights={weights}: not of {config.encoder}: {report.matched} of "
            f"{report.matched + len(absent)} tensors fit, {reason}"
        )
    for line in report.lines():
        _log.info(line)
    return report


def _read(weights: str) -> tuple[str, dict[str, Tensor]]:
    """Read the state dict of the one network in a file or folder, and say where it was."""
    path = Path(weights).expanduser()
    if not path.exists():
        raise UserError(
            f"model.encoder_weights={weights}: no such file or folder; give one, or a name such as imagenet"
        )
    if path.is_dir():
        files = [path / name for name in _FILES if (path / name).is_file()]
        files = files or sorted(file for file in path.iterdir() if file.suffix in WEIGHT_SUFFIXES)
        if len(files) != 1 and (not files or files[0].name not in _FILES):
            raise UserError(
                f"model.encoder_weights={weights}: the folder holds {len(files)} files of weights; name one file "
                f"({', '.join(WEIGHT_SUFFIXES)})"
            )
        path = files[0]
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if short_of_memory(error):
            raise
        raise UserError(
            f"model.encoder_weights={weights}: {path.name} is not a readable file of weights "
            f"({type(error).__name__}); give a safetensors file, or one that torch.load reads with weights_only"
        ) from None
    nest = ""
    while isinstance(content, Mapping) and not _is_state(content):
        key = next((key for key in _NESTS if isinstance(content.get(key), Mapping)), None)
        if key is None:
            raise UserError(
                f"model.encoder_weights={weights}: no network in {path.name}; looked under {', '.join(_NESTS)}"
            )
        content, nest = content[key], f"{nest}/{key}"
    if not isinstance(content, Mapping):
        raise UserError(f"model.encoder_weights={weights}: {path.name} holds no state dict")
    state = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    return f"{path}{f' ({nest[1:]})' if nest else ''}", state


def _is_state(content: Mapping[Any, Any]) -> bool:
    return bool(content) and sum(isinstance(value, Tensor) for value in content.values()) > len(content) / 2


def canonical(name: str) -> str:
    """Shorten a parameter's name to what timm, torchvision, smp and wrapped checkpoints have in common.

    `module.encoder.model.stages_0.conv.weight` and `stages.0.conv.weight` are the same parameter.
    """
    while (short := _PREFIX.sub("", name)) != name:
        name = short
    return _STAGE.sub(lambda found: f"{found[1] or found[2]}.", name)


def _names(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the names of the encoder's tensors by their short ones; of all, where none is said to be the encoder's."""
    inside = [name for name in state if re.match(r"^(?:\w+\.)?(?:encoder|backbone)\.", name)]
    return {canonical(name): name for name in (inside or state)}


def _fill(encoder: nn.Module, state: Mapping[str, Tensor], names: Mapping[str, str], source: str) -> WeightsReport:
    given = _resampled(encoder, {short: state[name] for short, name in names.items()})
    from timm.models import adapt_input_conv

    own = encoder.state_dict()
    filled, missing, reshaped = {}, [], []
    for name, value in own.items():
        short = canonical(name)
        if short not in given:
            if not name.endswith("num_batches_tracked"):
                missing.append(name)
        elif _reads_other_channels(given[short], value):
            filled[name] = adapt_input_conv(value.shape[1], given[short]).to(value.dtype)
        elif given[short].shape != value.shape:
            reshaped.append(name)
        else:
            filled[name] = given[short].to(value.dtype)
    encoder.load_state_dict(filled, strict=False)
    places = {canonical(name) for name in own}
    unused = [name for short, name in names.items() if short not in places]
    unused += [name for name in state if canonical(name) not in names]
    return WeightsReport(source, len(filled), tuple(missing), tuple(reshaped), tuple(unused))


def _reads_other_channels(given: Tensor, own: Tensor) -> bool:
    """Whether these are the weights of a first layer, for colours and for other channels.

    timm sums them for one channel and repeats them in turn, scaled to the same sum, for others; so does smp.
    """
    shapes = given.shape, own.shape
    return given.ndim == own.ndim == 4 and shapes[0][1] == 3 != shapes[1][1] and shapes[0][2:] == shapes[1][2:]


def _resampled(encoder: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Let timm bring a vision transformer's patch and position embeddings to the encoder's sizes."""
    from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn

    model = getattr(encoder, "model", None)
    if isinstance(model, VisionTransformer) and "patch_embed.proj.weight" in state:
        return dict(checkpoint_filter_fn(state, model))
    return state
