"""The published method in our training: what its code computes in a step, beside ours on the same draws.

Ours are networks, initial weights, data, augmentation, batches, the student's dropout, optimizer, schedules of learning
rate and alpha, the teacher's average, and evaluation; on one seed all of these are the same draws as in a row of our
u2pl, and a warm-up is the same bit for bit (as published, weight decay reaches the representation head in it, too). The
published code's are, after the warm-up, the losses, the memory bank, and what `train_semi.py` does around them: see
`reference_objective`. There are two kinds:

- `published`: as it is published, with its faults. Labels of all images go to the first one, labeled images give no
  negative keys, anchors have the lowest entropies, the teacher's second look is with dropout and batch statistics, and
  the student is copied over the teacher at each step of the first epoch after the warm-up.
- `corrected`: with the paper's rules instead, which ours follows.

What cannot be the same draws. Mixing: the published code mixes all images of a batch or none, ours pair by pair; it
gives an image the box or the classes of the next one. Both kinds meet the same decisions and the same boxes. Anchors
and negatives are drawn otherwise, and all keys are pushed (`memory_bank.push_cap` is ours alone). BatchNorm's running
statistics of the teacher follow the student's, as ours do; the published ones are never kept in sync.
"""

import types
from typing import Any

import torch

from benchmarks.reference_objective import ReferenceObjective, Seen, corrected_rules, published_rules
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.method import MethodConfig
from u2pl_ray.config.schema import IGNORE, Config
from u2pl_ray.data.loaders import TrainingBatch
from u2pl_ray.method.alpha import alpha_at
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.statistics import pixel_counts
from u2pl_ray.method.types import Batch, Clock, Losses, Network, Stats
from u2pl_ray.train.loop import Worker
from u2pl_ray.train.session import Session

_OURS_ALONE = ("reliability", "balance", "unsupervised_rampup")


class PublishedObjective(ReferenceObjective):
    """The published step with the diagnostics of ours: what share is reliable, and how much of it is right."""

    def __call__(self, student: Network, teacher: Network, batch: Batch, clock: Clock) -> tuple[Losses, Stats]:
        """Compute one step; a supervised one while warming up. See `Supervised.__call__`."""
        if clock.warming_up:
            return super().__call__(student, teacher, batch, clock)
        losses, seen = self.terms(student, teacher, batch, clock)
        return losses, self._stats(seen, alpha_at(self.config.alpha, clock.epoch, clock.epochs))

    def _stats(self, seen: Seen, alpha: float) -> Stats:
        """See `Stats`; without those of the memory bank."""
        pseudo_labels = seen.pseudo_labels.to(torch.uint8)
        reliable = seen.targets != IGNORE
        stats = Stats()
        stats.local["pixels"] = pixel_counts(pseudo_labels, reliable, seen.truth, seen.entropies, self.num_classes)
        stats.local["entropy"] = seen.entropies[pseudo_labels != IGNORE].sum(dtype=torch.float64)
        for name, value in (("steps", 1.0), ("alpha", alpha), ("gamma", seen.gamma)):
            stats.shared[name] = torch.tensor(value, device=self.device)
        return stats


class PublishedWorker(Worker):
    """A training by the published step, on one worker.

    Args:
        config: of a row; see `Worker`.
        session: see `Worker`.
        device: see `Worker`.
        losses: of `reference_losses.load_reference`.
        kind: one of `rows.KINDS`.

    Raises:
        UserError: a setting that only our method knows.
    """

    def __init__(
        self, config: Config, session: Session, device: torch.device, losses: types.ModuleType, kind: str
    ) -> None:
        check(config.method)
        super().__init__(config, session, device)
        rules = published_rules(losses) if kind == "published" else corrected_rules(losses)
        arguments: tuple[Any, ...] = (len(self.classes), config.model.representation_dim, config.seed)
        arguments += (Collectives(device), device, (config.data.mean, config.data.std), config.model.auxiliary_weight)
        self.objective = PublishedObjective(losses, rules, self.teacher.module, config.method, *arguments)
        self._copied = config.method.warmup_epochs if kind == "published" else None

    def step(self, step: int, loaded: TrainingBatch, forward: Any) -> tuple[Losses, Stats]:
        """Take one optimizer step, see `Worker.step`; as published, the first epoch's teacher is the student."""
        result = super().step(step, loaded, forward)
        if step // self.steps == self._copied:
            self.teacher.update(self.student, 0.0)
        return result


def check(method: MethodConfig) -> None:
    """Refuse what the published step does not know, instead of training without it."""
    if method.name != "u2pl" or not method.contrasts:
        raise UserError(f"method.name={method.name} is not what is published: use u2pl, with its contrastive term")
    default = MethodConfig()
    ours = [name for name in _OURS_ALONE if getattr(method, name) != getattr(default, name)]
    if method.strong_view.use:
        ours.append("strong_view.use")
    if method.mixing.labeled_partner:
        ours.append("mixing.labeled_partner")
    if ours:
        raise UserError(f"method.{ours[0]} is ours alone: leave it at its default in rows with a reference")
