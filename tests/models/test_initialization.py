import pytest
import torch
from torch import Tensor

from tests.models.test_segmentor import ARCHITECTURES, config
from u2pl_ray.models.segmentor import Segmentor, _create


def weights(seed: int = 0, **values: object) -> dict[str, Tensor]:
    representation = values.pop("representation", True)
    return Segmentor(config(**values), num_classes=5, representation=bool(representation), seed=seed).state_dict()


def test_the_representation_head_changes_no_other_weight() -> None:
    full, plain = weights(), weights(representation=False)
    assert {name.split(".")[0] for name in full.keys() - plain.keys()} == {"representation"}
    assert all(torch.equal(full[name], value) for name, value in plain.items())


def test_weights_are_a_function_of_the_seed_and_nothing_global() -> None:
    first = weights(seed=3)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    again = weights(seed=3)
    assert all(torch.equal(again[name], value) for name, value in first.items())
    assert torch.equal(torch.get_rng_state(), state)
    other = weights(seed=4)
    random = [name for name, value in first.items() if value.is_floating_point() and value.std() > 0]
    assert len(random) > 30
    assert not any(torch.equal(other[name], first[name]) for name in random)


def test_heads_keep_their_weights_where_another_part_changes() -> None:
    first, other = weights(), weights(encoder="resnet34")
    same = [name for name in first if not name.startswith("encoder.")]
    changed = [name for name in same if first[name].shape == other[name].shape and not first[name].equal(other[name])]
    assert not changed


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_weights_are_distributed_as_the_architecture_draws_them(architecture: str) -> None:
    """Layer by layer, the standard deviation of our draw is that of segmentation-models-pytorch's."""
    mine = Segmentor(config(architecture=architecture), num_classes=5, representation=False).state_dict()
    torch.manual_seed(0)
    theirs = _create(config(architecture=architecture), 5).state_dict()
    compared = 0
    for name, value in mine.items():
        other = theirs[name.replace("classifier.", "segmentation_head.0.")]
        if value.is_floating_point() and value.numel() > 500 and other.std() > 0:
            assert value.std().item() == pytest.approx(other.std().item(), rel=0.15), name
            compared += 1
    assert compared > 20
