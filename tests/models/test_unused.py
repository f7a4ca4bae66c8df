import copy
from typing import Any

import pytest
import torch

from u2pl_ray.config.schema import ModelConfig
from u2pl_ray.models.segmentor import Segmentor
from u2pl_ray.models.unused import freeze_unused


def network(**values: object) -> Any:
    return Segmentor(ModelConfig.model_validate({"representation_dim": 8, "auxiliary_weight": 0.4, **values}), 3)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"architecture": "FPN", "encoder": "resnet18", "activation_checkpointing": False}, set()),
        ({"architecture": "PSPNet", "encoder": "resnet18"}, {"encoder.layer3", "encoder.layer4"}),
        (
            {"architecture": "DPT", "encoder": "tu-vit_tiny_patch16_224", "activation_checkpointing": True},
            {"encoder.model.norm", "encoder.model.head"},
        ),
        ({"architecture": "PSPNet", "encoder": "resnet18", "freeze_encoder": True}, set()),
    ],
)
def test_what_gets_no_gradient_in_a_step_is_frozen_and_nothing_else(
    values: dict[str, object], expected: set[str]
) -> None:
    model = network(**values).train()
    before, generator = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    unused = freeze_unused(model, 3, 64)
    assert model.training
    assert torch.equal(torch.get_rng_state(), generator)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    for parameter in model.parameters():
        assert parameter.grad is None
    assert {owner for owner in expected for name in unused if name.startswith(owner)} == expected
    assert all(name.startswith(tuple(expected)) for name in unused)

    torch.stack([each.sum() for each in model(torch.randn(2, 3, 64, 64)) if each is not None]).sum().backward()
    assert all((each.grad is not None) == each.requires_grad for each in model.parameters())
