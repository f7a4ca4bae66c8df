"""The same global batch on 1, 2 and 4 real processes: what may differ, and by how much.

Exact, to the bit:
- between the workers of one training: memory bank, averaged gradients, shared statistics, at every step;
- between trainings on 1, 2 and 4 workers, at the first step and given outputs that do not depend on how images are
  batched (`per_image`): gamma, every count of pixels (so the partition), which keys are pushed.
To float32 rounding (losses and gradients are sums over pixels in another order, and from the second step on they have
moved the parameters), relative to the greatest value of the tensor:
- 1e-6 for losses, entropies and keys, 1e-5 for gradients, given such outputs;
- 1e-5 and 1e-4 where the convolutions run over batches of another size.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tests.method import tiny
from tests.method.workers import launch
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.teacher_momentum import teacher_momentum

WORLD_SIZES = [2, 4]
STEPS = 4
SCENARIOS: dict[str, dict[str, Any]] = {
    "supervised": {"name": "supervised"},
    "supervised_ohem": {
        "name": "supervised", "supervised_loss": "ohem", "ohem": {"threshold": 0.05, "min_kept": 900}
    },
    "pseudo_label": {"name": "pseudo_label", "mixing": {"kind": "classmix", "probability": 0.7}},
    "u2pl_cutmix": {"name": "u2pl", "alpha": {"start": 0.4, "end": 0.2, "kind": "cosine"}},
    "u2pl_cutout_ohem": {
        "name": "u2pl", "mixing": {"kind": "cutout"}, "supervised_loss": "ohem", "ohem": {"min_kept": 900}
    },
    "fixmatch_margins": {"name": "fixmatch", "reliability": {"confidence": 0.4}, "balance": {"margin": 0.5}},
    "unimatch": {"name": "unimatch", "reliability": {"confidence": 0.4}},
    "u2pl_balanced": {
        "name": "u2pl", "alpha": {"start": 0.4, "end": 0.2}, "strong_view": {"use": True},
        "reliability": {"judged_on": "weak", "confidence": 0.3, "per_class": True},
        "balance": {"alignment": 0.7, "margin": 0.6, "weight_power": 0.5}, "mixing": {"labeled_partner": 0.5},
    },
}  # fmt: skip


class PerImage(nn.Module):
    """A network that is shown one image at a time, so that its outputs are the same bits in any batch."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, perturbed: int = 0) -> tiny.Outputs:
        whole = len(images) - perturbed
        outputs = [self.network(image.unsqueeze(0), int(number >= whole)) for number, image in enumerate(images)]
        return tiny.Outputs(
            torch.cat([output.logits for output in outputs]), torch.cat([output.representation for output in outputs])
        )


def train(scenario: str, per_image: bool) -> dict[str, Any]:
    """A few steps of data-parallel SGD with a teacher following; everything that came out."""
    collectives = Collectives.from_process_group("cpu")
    rank, world_size = collectives.rank, collectives.world_size
    plain, teacher = tiny.networks()
    student: Any = PerImage(plain) if per_image else plain
    if world_size > 1:
        student = DistributedDataParallel(student, find_unused_parameters=True)
    objective = tiny.objective(**SCENARIOS[scenario], collectives=collectives)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05)
    result: dict[str, Any] = {"losses": [], "gradients": [], "local": [], "shared": []}
    for step in range(STEPS):
        batch = tiny.share(tiny.batch(step), rank, world_size)
        clock = tiny.clock(step=step, epoch=step, epochs=STEPS)
        losses, stats = objective(student, PerImage(teacher) if per_image else teacher, batch, clock)
        optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        result["losses"].append([losses.total.detach(), losses.supervised, losses.unsupervised, losses.contrastive])
        gradients = [parameter.grad for parameter in plain.parameters() if parameter.grad is not None]
        result["gradients"].append([gradient.clone() for gradient in gradients])
        result["local"].append(stats.local)
        result["shared"].append(stats.shared)
        optimizer.step()
        with torch.no_grad():
            for mine, other in zip(teacher.parameters(), plain.parameters(), strict=True):
                mine.lerp_(other, 1 - teacher_momentum(step + 1, 0.99))
    result["state"] = objective.state_dict()
    return result


def train_all() -> dict[str, Any]:
    return {f"{name}/{way}": train(name, way == "per_image") for name in SCENARIOS for way in ("batched", "per_image")}


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    return train_all()


@pytest.fixture(scope="module", params=WORLD_SIZES, ids=lambda size: f"{size}_workers")
def together(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return launch(request.param, train_all)


def tensors(tree: Any) -> list[Tensor]:
    """All tensors of nested dicts and lists, in order."""
    if isinstance(tree, Tensor):
        return [tree]
    children = [tree[key] for key in sorted(tree)] if isinstance(tree, dict) else tree
    return [tensor for child in children for tensor in tensors(child)]


def assert_same(got: Tensor, want: Tensor, tolerance: float) -> None:
    """Within `tolerance` of the greatest magnitude; dtypes and shapes equal."""
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    if want.numel():
        error = (got.double() - want.double()).abs().max().item()
        assert error <= tolerance * max(want.double().abs().max().item(), 1e-3), f"off by {error}"


@pytest.mark.parametrize(("way", "tolerance"), [("per_image", 1e-6), ("batched", 1e-5)])
@pytest.mark.parametrize("scenario", SCENARIOS)
class TestSameResult:
    def test_losses(
        self, alone: dict[str, Any], together: list[dict[str, Any]], scenario: str, way: str, tolerance: float
    ) -> None:
        """The mean over workers of each loss is the loss of one worker."""
        case = f"{scenario}/{way}"
        for step in range(STEPS):
            for term in range(4):
                parts = torch.stack([result[case]["losses"][step][term] for result in together])
                assert_same(parts.double().mean().float(), alone[case]["losses"][step][term], tolerance)

    def test_gradients(
        self, alone: dict[str, Any], together: list[dict[str, Any]], scenario: str, way: str, tolerance: float
    ) -> None:
        """As data-parallel training averages them, on every worker, at every step of a training."""
        case = f"{scenario}/{way}"
        for result in together:
            got, want = tensors(result[case]["gradients"]), tensors(alone[case]["gradients"])
            assert len(got) == len(want)
            for mine, other in zip(got, want, strict=True):
                assert_same(mine, other, 10 * tolerance)

    def test_statistics(
        self, alone: dict[str, Any], together: list[dict[str, Any]], scenario: str, way: str, tolerance: float
    ) -> None:
        case = f"{scenario}/{way}"
        for step in range(STEPS):
            first = step == 0 and way == "per_image"
            local, shared = alone[case]["local"][step], alone[case]["shared"][step]
            for name, want in local.items():
                parts = torch.stack([result[case]["local"][step][name] for result in together])
                if name == "pixels" and scenario == "u2pl_balanced" and not first:
                    # five thresholds and a bias that follows the predictions: a pixel may be on either side of one
                    assert (parts.sum(0) - want).abs().sum() <= 8
                    continue
                assert_same(parts.sum(0), want, 0.0 if first and name != "entropy" else tolerance)
            for name, want in shared.items():
                assert_same(together[0][case]["shared"][step][name], want, 0.0 if first else tolerance)

    def test_state(
        self, alone: dict[str, Any], together: list[dict[str, Any]], scenario: str, way: str, tolerance: float
    ) -> None:
        case = f"{scenario}/{way}"
        got, want = tensors(together[0][case]["state"]), tensors(alone[case]["state"])
        assert len(got) == len(want)
        assert bool(want) == scenario.startswith(("u2pl", "fixmatch_margins"))
        for mine, other in zip(got, want, strict=True):
            assert_same(mine, other, tolerance)


@pytest.mark.parametrize("way", ["per_image", "batched"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_workers_agree_to_the_bit(together: list[dict[str, Any]], scenario: str, way: str) -> None:
    """Memory banks, gradients after averaging, and everything shared."""
    case = f"{scenario}/{way}"
    first = tensors([together[0][case][part] for part in ("state", "gradients", "shared")])
    assert first
    for result in together[1:]:
        other = tensors([result[case][part] for part in ("state", "gradients", "shared")])
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(other, first, strict=True))


@pytest.mark.parametrize("scenario", ["u2pl_cutmix", "u2pl_cutout_ohem"])
def test_the_scenario_exercises_what_it_is_for(alone: dict[str, Any], scenario: str) -> None:
    result = alone[f"{scenario}/batched"]
    assert all(term > 0 for step in result["losses"] for term in step)
    fill = result["shared"][-1]["bank/fill"]
    assert (fill == torch.tensor([60.0, 40, 40, 40, 40])).any()  # a queue has wrapped
    assert all((stats["bank/pushed"] > 0).any() for stats in result["shared"])
