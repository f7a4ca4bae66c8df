"""Our losses on the problems of `loss_problems`."""

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.loss_problems import ALPHA, ANCHOR_THRESHOLD, ANCHORS, NEGATIVES, TEMPERATURE, Logits, Problem, Size
from benchmarks.reference_losses import ReferenceUnsupervised
from u2pl_ray.config.method import ContrastiveConfig, MemoryBankConfig
from u2pl_ray.config.schema import IGNORE
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.contrastive import ContrastiveLoss
from u2pl_ray.method.losses import pseudo_label_loss
from u2pl_ray.method.maps import downsample
from u2pl_ray.method.reliability import gamma, ignore, partition, upsampled_entropy
from u2pl_ray.method.types import Clock


class Ours:
    """Our contrastive loss on a problem, with full queues."""

    def __init__(self, size: Size, problem: Problem, push_cap: int | None, key_dtype: str) -> None:
        config = ContrastiveConfig(
            temperature=TEMPERATURE,
            anchors=ANCHORS,
            negatives=NEGATIVES,
            low_rank=size.low_rank,
            high_rank=size.high_rank,
            anchor_threshold=ANCHOR_THRESHOLD,
        )
        bank = MemoryBankConfig.model_validate(
            {
                "capacity": size.capacity,
                "background_capacity": size.background_capacity,
                "push_cap": push_cap,
                "key_dtype": key_dtype,
            }
        )
        device = problem.prob.device
        self.loss = ContrastiveLoss(config, bank, size.classes, size.dim, 0, Collectives(device), device)
        full = self.loss.bank
        full.keys.copy_(F.normalize(torch.randn(full.keys.shape), dim=1))
        full.fill.copy_(full.capacity)
        self.problem, self.images, self.step = problem, size.images, 0

    def __call__(self) -> Tensor:
        """The loss of one step."""
        problem = self.problem
        maps = self.loss.local_maps(problem.prob, problem.label, self.images)
        loss, self.stats = self.loss(
            problem.student,
            problem.teacher,
            self.images,
            maps,
            problem.reliable,
            problem.unreliable,
            Clock(0, 1, self.step),
        )
        self.step += 1
        return loss


class OurUnsupervised:
    """Our pseudo-label loss and the maps that the contrastive loss takes, as in `method.pseudo_label`."""

    def __init__(self, logits: Logits) -> None:
        self.logits = logits

    def __call__(self) -> Tensor:
        """The loss of one step."""
        logits, pseudo_labels = self.logits, self.logits.pseudo_labels
        with torch.no_grad():
            entropies = upsampled_entropy(logits.teacher, pseudo_labels.shape[-2:])
            entropies.masked_fill_(pseudo_labels == IGNORE, torch.nan)
            reliable, unreliable = partition(entropies, gamma(entropies, ALPHA), ALPHA)
            targets = ignore(pseudo_labels, ~reliable)
            labels = torch.cat([downsample(each, logits.small) for each in (logits.labels, pseudo_labels)])
            valid = labels[: len(pseudo_labels)] != IGNORE
            for mask in (reliable, unreliable):
                torch.cat([valid, downsample(mask, logits.small)])
        return pseudo_label_loss(logits.student, targets, reliable.sum(), (~entropies.isnan()).sum(), 1)


def check_same_loss(reference: ReferenceUnsupervised, ours: OurUnsupervised) -> None:
    """Raise unless both unsupervised losses are equal, but for lambda_u: the reference counts ignored pixels too."""
    counted = (ours.logits.pseudo_labels != IGNORE).float().mean()
    torch.testing.assert_close(counted * reference(), ours(), rtol=1e-3, atol=1e-4)


VARIANTS: dict[str, tuple[int | None, str]] = {
    "all keys": (None, "float32"),
    "all keys, bfloat16": (None, "bfloat16"),
    "push_cap 1024": (1024, "float32"),
    "push_cap 1024, bfloat16": (1024, "bfloat16"),
}
