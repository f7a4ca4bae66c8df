"""A network, a batch and a configuration small enough to restate a whole step by hand."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from u2pl_ray.config.method import MethodConfig
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.objective import Objective, build_objective
from u2pl_ray.method.types import Batch, Clock

CLASSES, DIM, SIDE = 5, 8, 32
CPU = torch.device("cpu")


class Outputs(NamedTuple):
    logits: Tensor
    representation: Tensor


class Net(nn.Module):
    """Two convolutions without normalisation, stride 4. Remembers what it was shown."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.body = nn.Conv2d(3, 16, 5, stride=4, padding=2)
            self.classifier = nn.Conv2d(16, CLASSES, 1)
            self.head = nn.Conv2d(16, DIM, 1)
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor, perturbed: int = 0) -> Outputs:
        """Perturbed images lose every other channel."""
        self.seen.append(images.detach())
        features = self.body(images).relu()
        if perturbed:
            kept = torch.ones(len(images), 16, 1, 1, device=images.device)
            kept[-perturbed:, ::2] = 0
            features = features * kept
        return Outputs(4 * self.classifier(features), self.head(features))


def networks(seed: int = 0) -> tuple[Net, Net]:
    """Student and teacher."""
    return Net(seed), Net(seed + 1).requires_grad_(False).eval()


def batch(step: int = 0, labeled: int = 4, unlabeled: int = 8, side: int = SIDE) -> Batch:
    """The global batch of a step; a tenth of all labels is 255, and the last unlabeled image's are unknown."""
    draws = torch.Generator().manual_seed(step)

    def images(count: int) -> Tensor:
        coarse = torch.randn(count, 3, side // 4, side // 4, generator=draws)
        return nn.functional.interpolate(coarse, scale_factor=4.0) + 0.2 * torch.randn(
            count, 3, side, side, generator=draws
        )

    def labels(count: int) -> Tensor:
        values = torch.randint(0, CLASSES, (count, side, side), generator=draws, dtype=torch.uint8)
        return values.masked_fill(torch.rand(values.shape, generator=draws) < 0.1, 255)

    unlabeled_labels = labels(unlabeled)
    unlabeled_labels[-1] = 255
    return Batch(images(labeled), labels(labeled), images(unlabeled), unlabeled_labels)


def share(whole: Batch, rank: int, world_size: int) -> Batch:
    """A worker's contiguous slice of the global batch."""
    own = Collectives(CPU, rank, world_size).own
    valid = None if whole.unlabeled_valid is None else own(whole.unlabeled_valid)
    return Batch(
        own(whole.labeled_images), own(whole.labels), own(whole.unlabeled_images), own(whole.unlabeled_labels), valid
    )


def config(name: str, **changes: Any) -> MethodConfig:
    """Ranks that suit five classes, and few anchors."""
    values: dict[str, Any] = {
        "name": name,
        "contrastive": {"low_rank": 2, "high_rank": 5, "anchors": 6, "negatives": 7, "anchor_threshold": 0.3},
        "memory_bank": {"capacity": 40, "background_capacity": 60, "push_cap": 16},
    }
    return MethodConfig.model_validate(values | changes)


def objective(name: str, collectives: Collectives | None = None, **changes: Any) -> Objective:
    return build_objective(config(name, **changes), CLASSES, DIM, 0, collectives or Collectives(CPU), CPU)


def clock(step: int = 0, epoch: int = 2, epochs: int = 10, warming_up: bool = False) -> Clock:
    return Clock(epoch, epochs, step, warming_up)
