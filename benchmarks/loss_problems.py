"""Inputs of one step, for our losses and the public reference implementation's, at several sizes."""

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from u2pl_ray.config.schema import IGNORE

CPU = torch.device("cpu")
ANCHORS, NEGATIVES, TEMPERATURE, ANCHOR_THRESHOLD = 256, 50, 0.5, 0.3  # the reference's
ALPHA = 0.2


@dataclass(frozen=True)
class Size:
    """A problem: classes, feature length, images of each kind, side of the small and the large map, queues."""

    classes: int
    present: int
    dim: int
    images: int
    side: int
    large: int
    capacity: int
    background_capacity: int
    low_rank: int
    high_rank: int


SIZES = {
    "voc": Size(21, 21, 256, 4, 129, 513, 30_000, 50_000, 3, 20),
    "voc, 8 classes": Size(21, 8, 256, 4, 129, 513, 30_000, 50_000, 3, 20),
    "small": Size(11, 11, 64, 4, 40, 160, 2_000, 2_000, 2, 11),
}


@dataclass
class Problem:
    """Inputs of one step, the same for both sides."""

    student: Tensor
    teacher: Tensor
    prob: Tensor
    label: Tensor
    reliable: Tensor
    unreliable: Tensor

    def to(self, device: torch.device) -> "Problem":
        """The same problem on a device."""
        student, *others = (getattr(self, field.name).to(device) for field in fields(self))
        return Problem(student.detach().requires_grad_(), *others)


def make_problem(size: Size, seed: int = 0) -> Problem:
    """Blocky label maps with a little 255, and a teacher that is mostly right about them."""
    random = torch.Generator().manual_seed(seed)
    n, shape = 2 * size.images, (2 * size.images, size.side, size.side)
    blocks = torch.randint(size.present, (n, 1, 12, 12), generator=random)
    label = F.interpolate(blocks.float(), size.side, mode="nearest").long()[:, 0]
    logits = torch.randn(n, size.classes, size.side, size.side, generator=random)
    sure = 4 * torch.rand(shape, generator=random)
    logits.scatter_add_(1, label.unsqueeze(1), sure.unsqueeze(1))
    prob = logits.softmax(1)
    label[size.images :] = prob[size.images :].argmax(1)
    label[torch.rand(shape, generator=random) < 0.03] = IGNORE
    entropies = -(prob * prob.clamp_min(1e-10).log()).sum(1)
    valid = label != IGNORE
    threshold = entropies[size.images :][valid[size.images :]].quantile(1 - ALPHA)
    reliable, unreliable = valid & (entropies < threshold), valid & (entropies > threshold)
    reliable[: size.images] = unreliable[: size.images] = valid[: size.images]
    features = (torch.randn(n, size.dim, size.side, size.side, generator=random) for _ in range(2))
    return Problem(next(features).requires_grad_(), next(features), prob, label.to(torch.uint8), reliable, unreliable)


class Logits:
    """Small logits of student and teacher for the unlabeled images, labels and pseudo-labels on the large map."""

    def __init__(self, size: Size, problem: Problem) -> None:
        n, large = size.images, (size.large, size.large)
        draws = torch.Generator().manual_seed(1)
        self.teacher = problem.prob[n:].log()
        noise = torch.randn(self.teacher.shape, generator=draws).to(self.teacher.device)
        self.student = (self.teacher + noise).requires_grad_()
        labels = F.interpolate(problem.label.float().unsqueeze(1), large, mode="nearest").squeeze(1)
        self.labels, self.pseudo_labels = labels.to(torch.uint8).split(n)
        self.small = self.teacher.shape[-2:]
