from typing import Any

import pytest
import torch
from torch import nn

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import ModelConfig
from u2pl_ray.models.segmentor import Segmentor, check_model

ARCHITECTURES = [
    "Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet",
    "DeepLabV3", "DeepLabV3Plus", "PAN", "UPerNet", "Segformer",
]  # fmt: skip


def config(**values: object) -> ModelConfig:
    return ModelConfig.model_validate({"encoder": "resnet18", "representation_dim": 16, **values})


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_gives_both_heads_at_one_resolution(architecture: str) -> None:
    model = Segmentor(config(architecture=architecture), num_classes=5).eval()
    out = model(torch.randn(1, 3, 128, 128))
    assert out.logits.shape[:2] == (1, 5)
    assert out.representation.shape == (1, 16, *out.logits.shape[2:])


@pytest.mark.parametrize("encoder", ["mobilenet_v2", "tu-mobilenetv3_small_050", "efficientnet-b0"])
def test_other_encoders(encoder: str) -> None:
    out = Segmentor(config(encoder=encoder), num_classes=3).eval()(torch.randn(2, 3, 64, 96))
    assert out.logits.shape == (2, 3, 16, 24)


def test_without_representation_head() -> None:
    model = Segmentor(config(), num_classes=3, representation=False)
    assert model.eval()(torch.randn(1, 3, 64, 64)).representation is None


@pytest.mark.parametrize("encoder", ["resnet18", "tu-mobilenetv3_small_050"])
def test_group_normalization_leaves_no_batch_statistics(encoder: str) -> None:
    model = Segmentor(config(encoder=encoder, normalization="group"), num_classes=3).train()
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    both = torch.randn(2, 3, 64, 64)
    model.eval()
    alone = model(both[:1]).logits
    torch.testing.assert_close(model(both).logits[:1], alone, rtol=1e-4, atol=1e-5)


def test_frozen_normalization_is_the_same_in_training_and_evaluation() -> None:
    model = Segmentor(config(normalization="frozen", dropout=0.0, options={"decoder_aspp_dropout": 0.0}), num_classes=3)
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(model.train()(images).logits, model.eval()(images).logits)


@pytest.mark.parametrize("channels", [16, 32])
def test_group_normalization_takes_one_small_image(channels: int) -> None:
    """The decoder's pooled branch has a single pixel; a group of a single channel of it is no sample."""
    options = {"encoder_output_stride": 8, "decoder_channels": channels}
    model = Segmentor(config(normalization="group", options=options), num_classes=3).eval()
    assert model(torch.randn(1, 3, 64, 64)).logits.isfinite().all()


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"architecture": "DeepLabV3Pluss"}, "did you mean 'DeepLabV3Plus'"),
        ({"encoder": "resnet19"}, "did you mean 'resnet1"),
        ({"encoder": "tu-nonsense"}, "tu-nonsense"),
        ({"options": {"no_such_option": 1}}, "no_such_option"),
    ],
)
def test_wrong_names_are_one_line(values: dict[str, object], word: str) -> None:
    with pytest.raises(UserError, match=word) as caught:
        check_model(config(**values))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoder", ["tu-vgg11", "tu-dla34", "tu-hrnet_w18_small"])
def test_an_encoder_that_cannot_be_dilated_is_one_line(encoder: str) -> None:
    """timm asserts it without a word."""
    with pytest.raises(UserError, match=f"model.encoder={encoder}: its maps cannot be dilated.*DeepLabV3Plus"):
        check_model(config(architecture="DeepLabV3Plus", encoder=encoder))


def test_feature_perturbation_tells_maps_from_images_of_as_many_channels() -> None:
    model = Segmentor(config(architecture="FPN", encoder="tu-tf_efficientnet_lite0"), 3, channels=16).eval()
    maps: list[Any] = []
    model.decoder.register_forward_pre_hook(lambda _, inputs: maps.extend(inputs[0]))
    images = torch.randn(2, 16, 64, 64)
    model(images, 1)
    assert torch.equal(maps[0], images)
    assert maps[1].shape[1] == 16  # no more than the images
    for level in maps[1:]:
        dropped = (level == 0).flatten(2).all(2)
        assert 0 < dropped[1].sum() - dropped[0].sum() < level.shape[1]
