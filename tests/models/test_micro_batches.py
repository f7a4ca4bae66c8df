"""A batch in parts: outputs, gradients, statistics and memory."""

from typing import Any

import pytest
import torch

from u2pl_ray.config.schema import ModelConfig
from u2pl_ray.models.micro_batches import MicroBatches, _places, parts
from u2pl_ray.models.normalization import synchronize
from u2pl_ray.models.segmentor import Segmentor

CONFIG: dict[str, Any] = {
    "encoder": "tu-resnet10t",
    "options": {"encoder_depth": 3, "encoder_output_stride": 8, "decoder_channels": 32, "decoder_aspp_dropout": 0.5},
    "representation_dim": 8,
    "dropout": 0.3,
    "auxiliary_weight": 0.4,
}


def network(**values: object) -> Any:
    return Segmentor(ModelConfig.model_validate({**CONFIG, **values}), 4).train()


def images(count: int) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def gradients(model: Any, size: int, count: int, perturbed: int = 0) -> tuple[Any, list[torch.Tensor]]:
    """Outputs and gradients; half of the images are labeled."""
    model.draws.start(3, count // 2)
    outputs = MicroBatches(model, model.draws, size)(images(count), perturbed)
    model.zero_grad()
    # Not a sum over images: the first ones are weighed by the last ones' outputs, as global normalisers would.
    (outputs.logits.square().mean() * outputs.representation.exp().mean() + outputs.auxiliary.std()).backward()
    return outputs, [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize(("count", "size", "perturbed"), [(8, 2, 0), (7, 3, 0), (8, 3, 3), (6, 1, 6)])
def test_outputs_and_gradients_are_those_of_one_pass(count: int, size: int, perturbed: int) -> None:
    model = network(normalization="group")
    whole, expected = gradients(model, count, count, perturbed)
    split, got = gradients(model, size, count, perturbed)
    for mine, other in zip(split, whole, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)
    assert max(gradient.abs().max().item() for gradient in expected) > 0.01
    for mine, other in zip(got, expected, strict=True):
        assert (mine - other).abs().max() <= 1e-4 * other.abs().max() + 1e-7


def test_without_gradients_too() -> None:
    model = network(normalization="group").eval()
    with torch.no_grad():
        outputs = MicroBatches(model, model.draws, 3)(images(7))
        torch.testing.assert_close(outputs.logits, model(images(7)).logits, rtol=1e-4, atol=1e-5)
    assert outputs.auxiliary is None


@pytest.mark.parametrize("synchronised", [False, True])
def test_batch_statistics_follow_each_part_once(synchronised: bool) -> None:
    """SyncBatchNorm of one process computes what BatchNorm does, and checks the same of its counter as on GPUs."""
    plain = {"dropout": 0.0, "options": {**CONFIG["options"], "decoder_aspp_dropout": 0.0}}
    model, again = network(**plain), network(**plain)
    if synchronised:
        model = synchronize(model)
    gradients(model, 4, 8)
    again.draws.start(3, 4)
    for part in (slice(0, None, 2), slice(1, None, 2)):
        with torch.no_grad():
            again(images(8)[part])
    for name, value in model.named_buffers():
        assert torch.equal(value, dict(again.named_buffers())[name]), name
    norms = [layer for layer in model.modules() if hasattr(layer, "num_batches_tracked")]
    assert {layer.momentum for layer in norms} == {0.1}
    assert {int(layer.num_batches_tracked) for layer in norms} == {2}


@pytest.mark.parametrize(("count", "size"), [(8, 3), (7, 3), (6, 2), (5, 1), (3, 8)])
def test_every_image_comes_back_to_its_place(count: int, size: int) -> None:
    number = parts(count, size)
    split = [torch.arange(count)[part::number] for part in range(number)]
    assert max(map(len, split)) <= size
    assert torch.equal(torch.cat(split)[_places(count, number, torch.device("cpu"))], torch.arange(count))


def kept(size: int) -> int:
    """Count the bytes that a forward pass keeps for the backward pass."""
    model, sizes = network(), [0]

    def pack(value: torch.Tensor) -> torch.Tensor:
        sizes.append(value.numel() * value.element_size())
        return value

    model.draws.start(0, 12)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        MicroBatches(model, model.draws, size)(images(24))
    return sum(sizes)


def test_nothing_but_outputs_is_kept_of_a_part() -> None:
    assert kept(3) < 0.02 * kept(24)
