from typing import Any

import pytest
import timm
import torch
from torch import nn

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import ModelConfig, OptimConfig
from u2pl_ray.models.segmentor import Segmentor, blank
from u2pl_ray.train.optimizer import build_optimizer, layer_depths, parameter_groups


def segmentor(**values: object) -> Segmentor:
    return Segmentor(ModelConfig.model_validate({"encoder": "resnet18", "representation_dim": 8, **values}), 3)


def test_encoder_and_heads_by_default() -> None:
    network = segmentor()
    encoder, heads = parameter_groups(OptimConfig(lr=0.1, head_multiplier=10), network)
    assert encoder["lr"] == 0.1
    assert heads["lr"] == pytest.approx(1.0)
    assert [id(p) for p in encoder["params"]] == [id(p) for p in network.encoder.parameters()]
    ids = [id(parameter) for group in (encoder, heads) for parameter in group["params"]]
    assert sorted(ids) == sorted(id(parameter) for parameter in network.parameters())


def test_stages_of_a_residual_network_learn_by_powers() -> None:
    network = segmentor()
    groups = parameter_groups(OptimConfig(lr=0.1, head_multiplier=2, layer_decay=0.5), network)
    assert [group["lr"] for group in groups] == pytest.approx([0.1 / 16, 0.1 / 8, 0.1 / 4, 0.1 / 2, 0.1, 0.2])
    of = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert len(of) == len(list(network.parameters()))
    named = dict(network.encoder.named_parameters())
    assert of[id(named["conv1.weight"])] == pytest.approx(0.1 / 16)
    assert of[id(named["layer1.0.conv1.weight"])] == pytest.approx(0.1 / 8)
    assert of[id(named["layer4.1.conv2.weight"])] == pytest.approx(0.1)


def test_blocks_of_a_transformer() -> None:
    with torch.device("meta"):
        model = timm.create_model("vit_small_patch14_dinov2", num_classes=0)
    names = [f"model.{name}" for name, _ in model.named_parameters()]
    depths = dict(zip(names, layer_depths(names), strict=True))
    assert {depths[f"model.{name}"] for name in ("cls_token", "pos_embed", "patch_embed.proj.weight")} == {0}
    assert [depths[f"model.blocks.{block}.mlp.fc1.weight"] for block in range(12)] == list(range(1, 13))
    assert depths["model.norm.weight"] == 12


@pytest.mark.parametrize(
    "encoder",
    [
        "tu-tf_efficientnet_lite0",
        "tu-convnext_atto",
        "mobilenet_v2",
        "mit_b0",
        "tu-resnet10t",
        "densenet121",
        "tu-regnety_002",
    ],
)
def test_depths_rise_along_any_encoder(encoder: str) -> None:
    network = blank(ModelConfig(architecture="FPN", encoder=encoder), 3)
    depths = layer_depths([name for name, _ in network.encoder.named_parameters()])
    assert depths[0] <= 1
    assert max(depths) >= 4


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        ("mit_b0", {"patch_embed1.proj": 1, "block1.0": 1, "norm1.": 1, "patch_embed3.proj": 3, "norm4.": 4}),
        (
            "densenet121",
            {"features.norm0.": 0, "features.denseblock1.": 1, "features.transition1.": 1, "features.norm5": 4},
        ),
        ("tu-regnety_002", {"model.stem": 0, "model.s1.": 1, "model.s4.b7": 4}),
    ],
)
def test_parts_of_an_encoder(encoder: str, expected: dict[str, int]) -> None:
    names = [name for name, _ in blank(ModelConfig(architecture="FPN", encoder=encoder), 3).encoder.named_parameters()]
    found = list(zip(names, layer_depths(names), strict=True))
    for part, depth in expected.items():
        assert {own for name, own in found if name.startswith(part)} == {depth}, part


def test_layer_decay_without_layers_is_refused() -> None:
    network = blank(ModelConfig(architecture="FPN", encoder="dpn68"), 3)
    with pytest.raises(UserError, match=r"optim\.layer_decay: the layers of this encoder are not known"):
        parameter_groups(OptimConfig(layer_decay=0.9), network)
    assert len(parameter_groups(OptimConfig(), network)) == 2


def test_adamw_is_torchs() -> None:
    """One step from known gradients: weight decay apart from the gradient, a first step of the learning rate."""
    optim = OptimConfig(name="adamw", lr=0.1, head_multiplier=1, weight_decay=0.5, betas=(0.8, 0.9))
    network: Any = nn.Module()
    network.encoder, network.head = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    for layer in (network.encoder, network.head):
        layer.weight.data.fill_(2.0)
        layer.weight.grad = torch.full((1, 1), 3.0)
    optimizer = build_optimizer(optim, network)
    optimizer.step()
    assert network.head.weight.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1)
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.9)
