"""The student: a segmentation-models-pytorch network with a classifier and a representation head."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from u2pl_ray.config.errors import UserError, nearest
from u2pl_ray.config.schema import ModelConfig
from u2pl_ray.models.dropout import Draws, name_dropout
from u2pl_ray.models.initialization import draw_weights, weights_drawn_from
from u2pl_ray.models.normalization import convert_normalization

STRIDE = 32
"""Height and width of the input must be multiples of it (the deepest encoders halve the image five times)."""

_OURS = {
    "self",
    "kwargs",
    "encoder_name",
    "encoder_weights",
    "in_channels",
    "classes",
    "activation",
    "aux_params",
    "upsampling",
}


class Outputs(NamedTuple):
    """What the network says of a batch, at the decoder's resolution (the small map)."""

    logits: Tensor
    """[B, C, H, W], float."""
    representation: Tensor | None
    """[B, D, H, W], float, not normalised; None if the network was built without the head."""


class Segmentor(nn.Module):
    """Encoder and decoder of any smp architecture; classifier and representation head on the decoder's output.

    Args:
        config: architecture, encoder, head sizes.
        num_classes: C.
        representation: build the representation head (only the contrastive loss needs it).
        seed: the training's: what initial weights and dropout are drawn from.

    Shape:
        input [B, 3, h, w] float32, h and w multiples of 32; output `Outputs` at the decoder's resolution.
    """

    def __init__(self, config: ModelConfig, num_classes: int, representation: bool = True, seed: int = 0) -> None:
        super().__init__()
        with weights_drawn_from(seed, "network"):  # the encoder, which is built first, keeps these
            network = _create(config, num_classes)
        self.encoder: nn.Module = network.encoder
        self.decoder: nn.Module = network.decoder
        # The head's first layer classifies; what follows it in smp is the upsampling that the losses do themselves.
        self.classifier: nn.Conv2d = network.segmentation_head[0]
        channels, width = self.classifier.in_channels, config.representation_dim
        self.dropout = nn.Dropout2d(config.dropout)
        self.representation: nn.Sequential | None = None
        if representation:
            with weights_drawn_from(seed, "representation"):
                self.representation = nn.Sequential(
                    *_block(channels, width, config.dropout),
                    *_block(width, width, config.dropout),
                    nn.Conv2d(width, width, kernel_size=1),
                )
        rules = _initialization(network)
        draw_weights(self.decoder, seed, "decoder", rules[0])
        draw_weights(self.classifier, seed, "classifier", rules[1])
        if self.representation is not None:
            draw_weights(self.representation, seed, "representation")
        convert_normalization(self, config.normalization)
        self.draws = Draws(seed)
        name_dropout(self, self.draws)

    def forward(self, images: Tensor) -> Outputs:
        """[B, 3, h, w] to logits and representation at the decoder's resolution."""
        features = self.decoder(self.encoder(images))
        logits = self.classifier(self.dropout(features))
        return Outputs(logits, None if self.representation is None else self.representation(features))

    def parameter_groups(self, lr: float, head_multiplier: float) -> list[dict[str, object]]:
        """SGD groups: the encoder at `lr`, everything else at `lr * head_multiplier`."""
        encoder = list(self.encoder.parameters())
        known = {id(parameter) for parameter in encoder}
        heads = [parameter for parameter in self.parameters() if id(parameter) not in known]
        return [{"params": encoder, "lr": lr}, {"params": heads, "lr": lr * head_multiplier}]


def _block(channels: int, width: int, dropout: float) -> list[nn.Module]:
    """3x3 conv - BatchNorm - ReLU - dropout, as in the paper's representation head."""
    conv = nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.Dropout2d(dropout)]


def _initialization(network: Any) -> tuple[Callable[[nn.Module], None] | None, Callable[[nn.Module], None] | None]:
    """Find what smp draws a decoder's and a head's weights by; None where it leaves them to torch (DeepLab)."""
    from segmentation_models_pytorch.base.initialization import initialize_decoder, initialize_head

    constructor = inspect.unwrap(type(network).__init__)
    return (initialize_decoder, initialize_head) if "initialize" in constructor.__code__.co_names else (None, None)


def _create(config: ModelConfig, num_classes: int) -> Any:
    import segmentation_models_pytorch as smp
    from segmentation_models_pytorch.encoders import get_encoder_names

    known = {cls.__name__: cls for cls in smp.MODEL_ARCHITECTURES_MAPPING.values() if cls.__name__ != "DPT"}
    if config.architecture not in known:
        hint = nearest(config.architecture, known)
        raise UserError(f"model.architecture={config.architecture}: not one of {', '.join(known)}{hint}")
    if not config.encoder.startswith("tu-") and config.encoder not in get_encoder_names():
        hint = nearest(config.encoder, get_encoder_names())
        raise UserError(
            f"model.encoder={config.encoder}: segmentation-models-pytorch has no such encoder{hint} "
            "(timm's encoders are written tu-<name>)"
        )
    # smp takes (and ignores) any keyword, so a misspelt option has to be found here.
    options = set(inspect.signature(known[config.architecture].__init__).parameters) - _OURS
    for option in config.options:
        if option not in options:
            raise UserError(
                f"model.options.{option}: {config.architecture} has no such option{nearest(option, options)} "
                f"(it takes {', '.join(sorted(options))})"
            )
    try:
        network = known[config.architecture](
            encoder_name=config.encoder,
            encoder_weights=config.encoder_weights,
            classes=num_classes,
            **config.options,
        )
    except OSError as error:  # every download failure of the weights' hosts is one
        raise UserError(
            f"model.encoder_weights={config.encoder_weights}: could not be loaded for {config.encoder} "
            f"({type(error).__name__}); check the network, or set model.encoder_weights=null for random weights"
        ) from None
    except Exception as error:
        raise UserError(
            f"model: {config.architecture} with encoder {config.encoder} and options {config.options} "
            f"cannot be built: {str(error).splitlines()[0]}"
        ) from None
    return network


def check_model(config: ModelConfig) -> None:
    """Build the network on torch's meta device: no memory, no weights, but every wrong name is found.

    Raises:
        UserError: unknown architecture or encoder, or options it does not take.
    """
    with torch.device("meta"):
        Segmentor(config.model_copy(update={"encoder_weights": None}), num_classes=2)
