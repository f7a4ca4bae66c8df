"""The auxiliary head: its place, its weights, its part in the loss."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.method import tiny
from tests.models.test_segmentor import config
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.objective import build_objective
from u2pl_ray.models.segmentor import Segmentor

CLASSES = tiny.CLASSES


def network(weight: float = 0.4, seed: int = 0, **values: object) -> Any:
    return Segmentor(config(auxiliary_weight=weight, **values), CLASSES, seed=seed)


@pytest.mark.parametrize("architecture", ["DeepLabV3Plus", "PAN", "Segformer"])
def test_it_sits_on_the_last_stage_but_one_and_is_for_training_alone(architecture: str) -> None:
    model = network(architecture=architecture, dropout=0.0).train()
    images = torch.randn(2, 3, 128, 128)
    got = model(images).auxiliary
    assert got.shape[:2] == (2, CLASSES)
    assert got.shape[2:] == model.encoder.train()(images)[-2].shape[2:]
    assert model.eval()(images).auxiliary is None


def test_it_changes_no_other_weight_and_no_other_output() -> None:
    with_head, without = network().train(), network(0.0).train()
    own, other = with_head.state_dict(), without.state_dict()
    assert {name.split(".")[0] for name in own.keys() - other.keys()} == {"auxiliary"}
    assert all(torch.equal(own[name], value) for name, value in other.items())
    images = torch.randn(2, 3, 64, 64)
    for model in (with_head, without):
        model.draws.start(5, 2)
    assert torch.equal(with_head(images).logits, without(images).logits)
    assert without(images).auxiliary is None


def test_its_weights_are_a_function_of_the_seed() -> None:
    weights = [network().auxiliary.state_dict()["0.weight"] for _ in range(2)]
    assert torch.equal(*weights)
    assert not torch.equal(weights[0], network(seed=1).auxiliary.state_dict()["0.weight"])


@pytest.mark.parametrize("method", ["supervised", "u2pl"])
@pytest.mark.parametrize("kind", ["ce", "ohem"])
def test_the_supervised_loss_is_that_of_both_heads(method: str, kind: str) -> None:
    settings = tiny.config(method, supervised_loss=kind, ohem={"threshold": 0.05, "min_kept": 700})
    model = network(normalization="frozen", dropout=0.0, options={"decoder_aspp_dropout": 0.0}).train()
    model.representation[-1] = torch.nn.Conv2d(16, tiny.DIM, 1)
    objective = build_objective(settings, CLASSES, tiny.DIM, 0, Collectives(tiny.CPU), tiny.CPU, auxiliary_weight=0.4)
    batch = tiny.batch()
    losses, _ = objective(model, torch.no_grad()(model), batch, tiny.clock())
    outputs = model(batch.labeled_images)
    main, auxiliary = (restated(values, batch.labels, kind) for values in (outputs.logits, outputs.auxiliary))
    assert auxiliary.item() > 0.1
    # pixels with the same prediction and label tie for the last place that OHEM keeps; rounding parts them
    torch.testing.assert_close(losses.supervised, main + 0.4 * auxiliary, rtol=1e-5 if kind == "ce" else 2e-4, atol=0.0)
    losses.total.backward()
    assert model.auxiliary[0].weight.grad.abs().sum() > 0


def restated(logits: torch.Tensor, labels: torch.Tensor, kind: str) -> torch.Tensor:
    """Cross entropy on the large map; with OHEM over the 700 least likely pixels and all below 0.05."""
    large = F.interpolate(logits, labels.shape[-2:], mode="bilinear", align_corners=False)
    each = F.cross_entropy(large, labels.long(), ignore_index=255, reduction="none")[labels != 255]
    if kind == "ohem":
        limit = max(0.05, torch.sort((-each).exp()).values[699].item())
        each = each[(-each).exp() <= limit]
    return each.mean()
