import copy

import pytest
import torch
from timm.layers import DropPath
from torch import nn

from u2pl_ray.config.schema import ModelConfig
from u2pl_ray.models.dropout import Draws, NamedDropout, name_dropout
from u2pl_ray.models.segmentor import Segmentor

KINDS = {"element": nn.Dropout(0.25), "channel": nn.Dropout2d(0.25), "image": DropPath(0.25)}


def network(kind: str, draws: Draws) -> nn.Module:
    whole = nn.Sequential(copy.deepcopy(KINDS[kind]))
    name_dropout(whole, draws)
    return whole.train()


@pytest.mark.parametrize("kind", KINDS)
class TestNamedDropout:
    def test_drops_as_torch_does(self, kind: str) -> None:
        """The share p is 0, the rest scaled by 1 / (1 - p); maps and images go as a whole."""
        ones = torch.ones(64, 32, 5, 5)
        got = network(kind, Draws())(ones)
        assert got.unique().tolist() == pytest.approx([0.0, 4 / 3])
        once = {"element": got, "channel": got[..., 0, 0], "image": got[:, 0, 0, 0]}[kind]
        assert torch.equal(got, once.reshape(*once.shape, *[1] * (4 - once.dim())).expand_as(got))
        share = (once == 0).float().mean().item()
        assert share == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / once.numel()) ** 0.5)

    def test_the_mask_is_a_function_of_seed_step_name_and_part(self, kind: str) -> None:
        def masks(seed: int = 0, step: int = 0, prefix: str = "", groups: tuple[int, ...] = (40, 60)) -> torch.Tensor:
            draws = Draws(seed)
            whole = nn.Sequential(copy.deepcopy(KINDS[kind]))
            name_dropout(whole, draws, prefix)
            draws.start(step, *groups)
            return whole.train()(torch.ones(100, 8, 2, 2))

        first = masks()
        torch.manual_seed(9)
        assert torch.equal(masks(), first)
        for other in (masks(seed=1), masks(step=1), masks(prefix="head.")):
            assert not torch.equal(other, first)
        assert torch.equal(masks(groups=(40,))[:40], first[:40])  # labeled images alone meet the same masks

    @pytest.mark.parametrize("world_size", [2, 4])
    def test_workers_share_the_global_mask(self, kind: str, world_size: int) -> None:
        alone = Draws()
        alone.start(3, 8, 16)
        whole = network(kind, alone)(torch.ones(24, 4, 3, 3))
        labeled, unlabeled = [], []
        for rank in range(world_size):
            draws = Draws(0, rank, world_size)
            share = 8 // world_size
            draws.start(3, share, 2 * share)
            own = network(kind, draws)(torch.ones(3 * share, 4, 3, 3))
            labeled.append(own[:share])
            unlabeled.append(own[share:])
        assert torch.equal(torch.cat(labeled + unlabeled), whole)

    def test_nothing_happens_in_eval_mode(self, kind: str) -> None:
        values = torch.randn(2, 3, 4, 4)
        assert torch.equal(network(kind, Draws()).eval()(values), values)


def test_a_layer_that_is_used_twice_draws_twice() -> None:
    draws = Draws()
    layer = NamedDropout("layer", 0.5, "element", draws)
    first, second = layer(torch.ones(4, 100)), layer(torch.ones(4, 100))
    assert not torch.equal(first, second)
    draws.start(0)
    assert torch.equal(layer(torch.ones(4, 100)), first)


@pytest.mark.parametrize("encoder", ["resnet18", "mit_b0", "tu-efficientnet_lite0"])
def test_no_layer_of_a_network_draws_from_the_global_generator(encoder: str) -> None:
    """What an encoder draws without such a layer is seeded per step and worker by the training loop."""
    architecture = "Segformer" if encoder == "mit_b0" else "DeepLabV3Plus"
    config = ModelConfig(architecture=architecture, encoder=encoder, representation_dim=8, dropout=0.5)
    model = Segmentor(config, num_classes=3).train()
    before = torch.get_rng_state()
    model(torch.randn(2, 3, 64, 64))
    images = torch.get_rng_state()
    torch.set_rng_state(before)
    torch.randn(2, 3, 64, 64)
    assert torch.equal(torch.get_rng_state(), images)
