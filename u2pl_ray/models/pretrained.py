"""Check pretrained weights before a training starts, on the machine that starts it."""

from torch import nn

from u2pl_ray.config.schema import Config, ModelConfig
from u2pl_ray.models.lite import MEAN, STD
from u2pl_ray.models.segmentor import Segmentor
from u2pl_ray.models.weights import PACKAGE, check_name, is_name

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of the colours, on a scale of 0..1."""


def check_weights(config: Config) -> list[str]:
    """Load the weights that `model.encoder_weights` names, as a training would, and say what does not go with them.

    A name is downloaded into the hub's cache of this machine, if it is not there yet.

    Args:
        config: its `model` and `data` sections are looked at.

    Returns:
        Warnings, a line each: `data.mean` and `data.std` are not what the weights were trained with, or a part of them
        is thrown away.

    Raises:
        UserError: no such weights, weights of another network, or a download that fails; names the setting.
    """
    if config.model.encoder_weights is None:
        return []
    check_name(config.model)
    as_trained = config.model.model_copy(update={"normalization": "batch"})
    network = Segmentor(as_trained, num_classes=2, representation=False, channels=config.data.channels)
    return [*_random(config.model, network), *_lost(config.model, network.encoder), *_other_colours(config)]


def _random(config: ModelConfig, network: Segmentor) -> list[str]:
    """Warn of what the file does not fill."""
    kinds = network.pretrained.random() if network.pretrained is not None else []
    return [f"model.encoder_weights={config.encoder_weights}: tensors of {config.encoder} {kind}" for kind in kinds]


def _lost(config: ModelConfig, encoder: nn.Module) -> list[str]:
    """Warn of GroupNorm in place of BatchNorm, which `models.normalization` starts at scale 1 and shift 0."""
    if config.normalization != "group" or not any(isinstance(layer, nn.BatchNorm2d) for layer in encoder.modules()):
        return []
    return [
        f"model.normalization=group: the scale and shift of {config.encoder}'s BatchNorm layers in "
        f"model.encoder_weights={config.encoder_weights} are thrown away, and its features are no longer the "
        "pretrained ones; batch or frozen keeps them"
    ]


def _other_colours(config: Config) -> list[str]:
    """Warn of colours that are not normalised as those that the weights were trained on."""
    if config.data.channels != 3 or config.data.value_range is not None:
        return []  # what they were trained with says nothing about other sensors
    expected = _expected(config.model.encoder, str(config.model.encoder_weights))
    if expected is None or expected == (config.data.mean, config.data.std):
        return []
    mean, std = (str(list(values)).replace(" ", "") for values in expected)
    return [
        f"data.mean and data.std are not those that model.encoder_weights={config.model.encoder_weights} was trained "
        f"with: set data.mean={mean} data.std={std}"
    ]


def _expected(encoder: str, weights: str) -> Statistics | None:
    """Return what the weights were trained with, None where nothing says it (a file)."""
    if weights == PACKAGE:
        return MEAN, STD
    if not is_name(weights) or encoder.startswith("tu-local-dir:"):
        return None
    from segmentation_models_pytorch.encoders import get_preprocessing_params

    found = get_preprocessing_params(encoder, weights)
    return tuple(found["mean"]), tuple(found["std"])
