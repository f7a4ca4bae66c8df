"""What of an encoder a training leaves alone, and vision transformers."""

from pathlib import Path
from typing import Any

import pytest
import torch

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import ModelConfig, OptimConfig
from u2pl_ray.models.micro_batches import MicroBatches
from u2pl_ray.models.segmentor import Segmentor, check_model
from u2pl_ray.train.optimizer import build_optimizer

DINOV2 = "tu-vit_small_patch14_dinov2"


def config(**values: object) -> ModelConfig:
    return ModelConfig.model_validate({"encoder": "resnet18", "architecture": "FPN", "representation_dim": 8, **values})


def two_steps(network: Any, side: int = 64) -> None:
    optimizer = build_optimizer(OptimConfig(name="adamw", lr=1e-3, layer_decay=0.9), network)
    network.train()
    for step in range(2):
        network.draws.start(step, 2)
        outputs = network(torch.randn(2, 3, side, side))
        optimizer.zero_grad()
        (outputs.logits.square().mean() + outputs.representation.square().mean()).backward()
        optimizer.step()


def changed(network: Segmentor) -> set[str]:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    two_steps(network)
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


def test_a_frozen_encoder_keeps_every_number() -> None:
    moved = changed(Segmentor(config(freeze_encoder=True), 3))
    assert not any(name.startswith("encoder.") for name in moved)
    assert any(name.startswith("decoder.") for name in moved)


def test_frozen_statistics_let_the_weights_learn() -> None:
    moved = {name for name in changed(Segmentor(config(freeze_statistics=True), 3)) if name.startswith("encoder.")}
    assert "encoder.layer1.0.bn1.weight" in moved
    assert not any("running" in name or "tracked" in name for name in moved)


def test_by_default_everything_moves() -> None:
    moved = changed(Segmentor(config(), 3))
    assert {"encoder.bn1.running_mean", "encoder.conv1.weight"} <= moved


def test_dinov2_with_dpt_learns() -> None:
    network: Any = Segmentor(config(architecture="DPT", encoder=DINOV2), 3)
    before = network.encoder.model.blocks[0].attn.qkv.weight.clone()
    two_steps(network)
    assert not torch.equal(network.encoder.model.blocks[0].attn.qkv.weight, before)
    with torch.no_grad():  # crops that are no square, any multiples of 32
        outputs = network.eval()(torch.randn(1, 3, 64, 96))
    assert outputs.logits.shape == (1, 3, 32, 48)
    assert outputs.representation.shape == (1, 8, 32, 48)


def test_patches_of_14_are_resampled_to_16(tmp_path: Path) -> None:
    import timm

    original: Any = timm.create_model(DINOV2[3:], num_classes=0)
    path = str(tmp_path / "dinov2.pth")
    torch.save({"model": {f"module.backbone.{name}": value for name, value in original.state_dict().items()}}, path)
    network: Any = Segmentor(config(architecture="DPT", encoder=DINOV2, encoder_weights=path), 3)
    model = network.encoder.model
    assert model.patch_embed.proj.weight.shape[2:] == (16, 16)
    assert torch.equal(model.blocks[3].mlp.fc1.weight, original.blocks[3].mlp.fc1.weight)
    with torch.no_grad():  # a constant image looks alike in patches of either size
        flat = torch.full((1, 3, 14, 14), 0.5), torch.full((1, 3, 16, 16), 0.5)
        torch.testing.assert_close(
            model.patch_embed.proj(flat[1]), original.patch_embed.proj(flat[0]), rtol=1e-3, atol=1e-3
        )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"architecture": "UPerNet", "encoder": DINOV2}, "has one: use model.architecture=DPT"),
        ({"architecture": "DPT"}, "DPT needs a vision transformer"),
        ({"architecture": "DPT", "encoder": "tu-vit_small_patch14_dinov3x"}, "timm has no such encoder"),
        ({"activation_checkpointing": True}, "resnet18 has none"),
        ({"activation_checkpointing": True, "encoder": "tu-resnet18"}, "BatchNorm's statistics twice"),
    ],
)
def test_what_cannot_be_built_is_one_line(values: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_model(config(**values))


@pytest.mark.parametrize("size", [4, 2])
def test_activation_checkpointing_gives_the_same_gradient(size: int) -> None:
    """With dropout in the encoder, which has to meet the same masks again; also with gradient accumulation."""
    gradients = []
    for again in (False, True):
        transformer = {"architecture": "DPT", "encoder": "tu-vit_tiny_patch16_224", "normalization": "group"}
        settings = config(**transformer, activation_checkpointing=again)
        network: Any = Segmentor(settings, 3).train()
        for name, layer in network.encoder.named_modules():
            if name.endswith(("proj_drop", "mlp.drop1")):
                layer.p = 0.3
        network.draws.start(0, 2)
        images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        shown = MicroBatches(network, network.draws, size) if again else network
        shown(images).logits.square().mean().backward()
        gradients.append(network.encoder.model.blocks[2].attn.qkv.weight.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)
    assert gradients[0].abs().sum() > 0
