"""The student: a segmentation-models-pytorch network with a classifier and a representation head."""

import inspect
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from u2pl_ray.config.errors import UserError, first_line, nearest
from u2pl_ray.config.schema import ModelConfig
from u2pl_ray.models.dropout import Draws, name_dropout
from u2pl_ray.models.initialization import draw_weights, weights_drawn_from
from u2pl_ray.models.normalization import convert_normalization
from u2pl_ray.models.weights import WeightsReport, check_name, is_name, load_encoder_weights

STRIDE = 32
"""Height and width of the input must be multiples of it (the deepest encoders halve the image five times)."""

_AUXILIARY_WIDTH = 256  # as published

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
"""Arguments of smp's architectures that are set here."""


class Outputs(NamedTuple):
    """What the network says of a batch, at the decoder's resolution (the small map)."""

    logits: Tensor
    """[B, C, H, W], float."""
    representation: Tensor | None
    """[B, D, H, W], float, not normalised; None if the network was built without the head."""
    auxiliary: Tensor | None = None
    """[B, C, H', W'], float, logits of the auxiliary head, on the map of the encoder's last stage but one; None without
    that head, and in eval mode."""


class Segmentor(nn.Module):
    """Encoder and decoder of any smp architecture; classifier and representation head on the decoder's output.

    Args:
        config: architecture, encoder, head sizes.
        num_classes: C.
        representation: build the representation head (only the contrastive loss needs it).
        seed: the training's: what initial weights and dropout are drawn from.
        channels: of the images.

    Shape:
        input [B, channels, h, w] float32, h and w multiples of 32; output `Outputs` at the decoder's resolution.
    """

    def __init__(
        self, config: ModelConfig, num_classes: int, representation: bool = True, seed: int = 0, channels: int = 3
    ) -> None:
        super().__init__()
        self.pretrained: WeightsReport | None = None
        with weights_drawn_from(seed, "network"):  # the encoder, which is built first, keeps these
            network = _create(config, num_classes, channels)
            if config.encoder_weights is not None and not is_name(config.encoder_weights):
                self.pretrained = load_encoder_weights(network.encoder, config)
        self._frozen = config.freeze_encoder, config.freeze_statistics
        self.encoder: nn.Module = network.encoder
        self.decoder: nn.Module = network.decoder
        # The head's first layer classifies; what follows it in smp is the upsampling that the losses do themselves.
        # DPT's is a block of layers with an upsampling of its own.
        head = network.segmentation_head
        self.classifier: nn.Module = head.head if config.architecture == "DPT" else head[0]
        first: Any = next(
            self.classifier.modules() if isinstance(self.classifier, nn.Conv2d) else self.classifier.children()
        )
        inputs, width = first.in_channels, config.representation_dim
        self.dropout = nn.Dropout2d(config.dropout)
        self.representation: nn.Sequential | None = None
        if representation:
            with weights_drawn_from(seed, "representation"):
                self.representation = nn.Sequential(
                    *_block(inputs, width, config.dropout),
                    *_block(width, width, config.dropout),
                    nn.Conv2d(width, width, kernel_size=1),
                )
        self.auxiliary: nn.Sequential | None = None
        if config.auxiliary_weight:
            with weights_drawn_from(seed, "auxiliary"):
                self.auxiliary = nn.Sequential(
                    *_block(network.encoder.out_channels[-2], _AUXILIARY_WIDTH, config.dropout),
                    nn.Conv2d(_AUXILIARY_WIDTH, num_classes, kernel_size=1),
                )
        rules = _initialization(network)
        draw_weights(self.decoder, seed, "decoder", rules[0])
        draw_weights(self.classifier, seed, "classifier", rules[1])
        if self.representation is not None:
            draw_weights(self.representation, seed, "representation")
        if self.auxiliary is not None:
            draw_weights(self.auxiliary, seed, "auxiliary")
        convert_normalization(self, config.normalization)
        if config.activation_checkpointing:
            _checkpoint_activations(self.encoder, config)
        if config.freeze_encoder:
            self.encoder.requires_grad_(False)
        self.draws = Draws(seed, recomputed=config.activation_checkpointing)
        name_dropout(self, self.draws)

    def forward(self, images: Tensor, perturbed: int = 0) -> Outputs:
        """Compute logits and representation at the decoder's resolution.

        Args:
            images: [B, channels, h, w].
            perturbed: the last so many images lose half of the channels of each of their encoder's maps, whatever the
                mode (feature perturbation: UniMatch, Yang et al., CVPR 2023).
        """
        # A vision transformer's encoder returns its maps and its class tokens.
        encoded = self.encoder(images)
        maps, *tokens = encoded if isinstance(encoded, tuple) else (encoded,)
        if perturbed:
            maps = [self._perturb(level, map_, perturbed, images) for level, map_ in enumerate(maps)]
        auxiliary = self.auxiliary(maps[-2]) if self.auxiliary is not None and self.training else None
        features = self.decoder(maps, *tokens)
        logits = self.classifier(self.dropout(features))
        representation = None if self.representation is None else self.representation(features)
        return Outputs(logits, representation, auxiliary)

    def _perturb(self, level: int, maps: Tensor, count: int, images: Tensor) -> Tensor:
        """Drop channels of the last `count` of maps [B, D, H, W]; the images, the first maps of most encoders, stay."""
        if maps.shape[1:] == images.shape[1:] or maps.shape[1] == 0:  # 0: in place of a scale that an encoder lacks
            return maps
        keep = self.draws.keep(f"perturbation/{level}", 0.5, maps, (maps.shape[1], 1, 1))
        keep[:-count] = 0.5
        return maps * (2.0 * keep).to(maps.dtype)

    def train(self, mode: bool = True) -> "Segmentor":
        """Set training mode; what `model.freeze_encoder` and `model.freeze_statistics` freeze stays in eval mode."""
        super().train(mode)
        encoder, statistics = self._frozen
        if encoder:
            self.encoder.eval()
        elif statistics:
            for module in self.encoder.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self


def _block(channels: int, width: int, dropout: float) -> list[nn.Module]:
    """3x3 conv - BatchNorm - ReLU - dropout, as in the paper's representation and auxiliary heads."""
    conv = nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.Dropout2d(dropout)]


def _initialization(network: Any) -> tuple[Callable[[nn.Module], None] | None, Callable[[nn.Module], None] | None]:
    """Find what smp draws a decoder's and a head's weights by; None where it leaves them to torch (DeepLab)."""
    from segmentation_models_pytorch.base.initialization import initialize_decoder, initialize_head

    constructor = inspect.unwrap(type(network).__init__)
    return (initialize_decoder, initialize_head) if "initialize" in constructor.__code__.co_names else (None, None)


def _create(config: ModelConfig, num_classes: int, channels: int = 3) -> Any:
    import segmentation_models_pytorch as smp
    from segmentation_models_pytorch.encoders import get_encoder_names

    known = {cls.__name__: cls for cls in smp.MODEL_ARCHITECTURES_MAPPING.values()}
    if config.architecture not in known:
        hint = nearest(config.architecture, known)
        raise UserError(f"model.architecture={config.architecture}: not one of {', '.join(known)}{hint}")
    if not config.encoder.startswith("tu-") and config.encoder not in get_encoder_names():
        hint = nearest(config.encoder, get_encoder_names())
        raise UserError(
            f"model.encoder={config.encoder}: segmentation-models-pytorch has no such encoder{hint} "
            "(timm's encoders are written tu-<name>)"
        )
    if config.architecture == "UPerNet" and config.encoder.startswith("tu-vit_"):
        raise UserError(
            f"model.architecture=UPerNet needs maps of several scales, and {config.encoder} has one: use "
            "model.architecture=DPT, or an encoder with stages (such as tu-convnext_tiny)"
        )
    # smp takes (and ignores) any keyword, so a misspelt option has to be found here.
    options = set(inspect.signature(known[config.architecture].__init__).parameters) - _OURS
    further = _transformer_options(config) if config.architecture == "DPT" else {}
    for option in config.options:
        if option not in options:
            raise UserError(
                f"model.options.{option}: {config.architecture} has no such option{nearest(option, options)} "
                f"(it takes {', '.join(sorted(options))})"
            )
    check_name(config)
    weights = config.encoder_weights if config.encoder_weights and is_name(config.encoder_weights) else None
    try:
        network = known[config.architecture](
            encoder_name=config.encoder,
            encoder_weights=weights,
            in_channels=channels,
            classes=num_classes,
            **config.options,
            **further,
        )
    except OSError as error:  # every download failure of the weights' hosts is one
        raise UserError(
            f"model.encoder_weights={config.encoder_weights}: could not be loaded for {config.encoder} "
            f"({type(error).__name__}); check the network, or set model.encoder_weights=null for random weights"
        ) from None
    except Exception as error:
        if _cannot_dilate(error):
            raise UserError(
                f"model.encoder={config.encoder}: its maps cannot be dilated, which model.architecture="
                f"{config.architecture} asks for; use FPN or Unet, or another encoder"
            ) from None
        raise UserError(
            f"model: {config.architecture} with encoder {config.encoder} and options {config.options} "
            f"cannot be built{f' for data.channels={channels}' if channels != 3 else ''}: {first_line(error)}"
        ) from None
    return network


def _cannot_dilate(error: Exception) -> bool:
    """Whether it is timm's assertion, without words, that an encoder's maps are of 1/32."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return isinstance(error, AssertionError) and "output_stride" in (last.line or "")


def _transformer_options(config: ModelConfig) -> dict[str, object]:
    """Arguments for timm that let a vision transformer take any crop that is a multiple of 32.

    Patches of 14 pixels fit neither such crops nor smp's decoder, which halves and doubles maps of 1/16. timm
    resamples the pretrained patch and position embedding to patches of 16 (FlexiViT: Beyer et al., CVPR 2023).
    """
    import timm

    name = config.encoder.removeprefix("tu-")
    if not name.startswith("vit_"):
        raise UserError(
            f"model.encoder={config.encoder}: DPT needs a vision transformer of timm, such as "
            "tu-vit_small_patch14_dinov2"
        )
    if not timm.models.is_model(name):
        known = [f"tu-{found}" for found in timm.list_models("vit_*")]
        raise UserError(f"model.encoder={config.encoder}: timm has no such encoder{nearest(config.encoder, known)}")
    return {"dynamic_img_size": True, "patch_size": 16}


def _checkpoint_activations(encoder: nn.Module, config: ModelConfig) -> None:
    """Turn on timm's activation checkpointing; refuse it where a second forward pass would change the training."""
    enable = getattr(getattr(encoder, "model", None), "set_grad_checkpointing", None)
    if enable is None:
        raise UserError(f"model.activation_checkpointing: {config.encoder} has none; use an encoder of timm (tu-...)")
    moving = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in encoder.modules())
    if moving and not (config.freeze_encoder or config.freeze_statistics):
        raise UserError(
            "model.activation_checkpointing: the second forward pass would move BatchNorm's statistics twice a step; "
            "set model.normalization=group (or frozen), or model.freeze_statistics=true"
        )
    enable(True)


def blank(config: ModelConfig, num_classes: int, representation: bool = True, channels: int = 3) -> Segmentor:
    """Build a network for its shapes alone: without pretrained weights, on torch's meta device where that can be.

    Args:
        config: the model section.
        num_classes: C.
        representation: with the representation head.
        channels: of the images.

    Raises:
        UserError: unknown architecture or encoder, or options it does not take.
    """
    config = config.model_copy(update={"encoder_weights": None})
    try:
        with torch.device("meta"):
            return Segmentor(config, num_classes, representation, channels=channels)
    except UserError as error:
        if "meta tensors" not in str(error):
            raise
    # Its constructor reads numbers (mix transformers)
    return Segmentor(config, num_classes, representation, channels=channels)


def check_model(config: ModelConfig, channels: int = 3) -> None:
    """Build the network without its weights, so that every wrong name is found; check the weights' name.

    Args:
        config: the model section.
        channels: of the images.

    Raises:
        UserError: unknown architecture, encoder or name of weights, or options that the architecture does not take.
    """
    blank(config, num_classes=2, channels=channels)
    check_name(config)
