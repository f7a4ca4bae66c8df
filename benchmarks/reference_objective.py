"""What the published `train_semi.py` (commit ab3d2be) computes in a step, for one process, on any student and teacher.

Its mixing, losses, queues and one-hot labels are the published functions themselves; what joins them stands in the
middle of a function of 300 lines there, and is stated again here (a test compares the two). The bilinear upsampling is
ours: corners not aligned, as in our networks.
"""

import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.reference_losses import corrected
from u2pl_ray.config.checks import rank_window
from u2pl_ray.config.schema import IGNORE
from u2pl_ray.method.alpha import alpha_at
from u2pl_ray.method.maps import upsample
from u2pl_ray.method.objective import Supervised, auxiliary_of
from u2pl_ray.method.types import Batch, Clock, Losses, Network, Outputs
from u2pl_ray.rng import derived_seed


@dataclass(frozen=True)
class Rules:
    """Which of its faults the published step keeps."""

    contrast: Callable[..., Any]
    """Its contrastive loss, see `reference_losses`."""
    one_hot: Callable[[Tensor, int], Tensor]
    """(labels [n,h,w] int64, C) to [n,C,h,w] float."""
    lowest_entropies: bool
    """Anchors are of the share alpha_t of lowest entropies, not of all pixels below gamma_t."""
    teacher_in_training: bool
    """Entropies, ranks, keys and positives are of a teacher with dropout and batch statistics."""


def published_rules(losses: types.ModuleType) -> Rules:
    """Return the step as it is published, with `losses` of `reference_losses.load_reference`."""
    helper = sys.modules["u2pl.utils.utils"].label_onehot
    return Rules(losses.compute_contra_memobank_loss, helper, lowest_entropies=True, teacher_in_training=True)


def corrected_rules(losses: types.ModuleType) -> Rules:
    """Return the same step with its rules corrected to the paper's, which ours follows."""
    return Rules(corrected(losses), one_hot, lowest_entropies=False, teacher_in_training=False)


class Seen(NamedTuple):
    """What a step made of the mixed unlabeled images; maps are [B,h,w]."""

    pseudo_labels: Tensor
    """int64, 255 = none."""
    targets: Tensor
    """int64, those that the unsupervised loss uses; 255 elsewhere."""
    truth: Tensor
    """int64, true labels, 255 = unknown."""
    entropies: Tensor
    """float32, in nats."""
    gamma: float
    """The (1 - alpha_t) quantile of the entropies."""


class ReferenceObjective(Supervised):
    """The published step with the settings of a `MethodConfig`; a supervised one while warming up.

    Args:
        losses: of `reference_losses.load_reference`.
        rules: see `Rules`.
        teacher: the network behind the `teacher` that a step is called with.
        arguments: those of `Supervised`; a single worker.
    """

    def __init__(self, losses: types.ModuleType, rules: Rules, teacher: nn.Module, *arguments: Any) -> None:
        self.losses, self.rules, self.teacher = losses, rules, teacher
        self.mix = import_module("u2pl.dataset.augmentation").generate_unsup_data
        super().__init__(*arguments)

    def prepare(self, representation_dim: int) -> None:
        """Build the supervised loss, and the queues on the host, empty; all keys are pushed, as many as there are."""
        self.criterion = self.losses.get_criterion(self._criterion())
        contrastive, bank = self.config.contrastive, self.config.memory_bank
        low_rank, high_rank = rank_window(contrastive, self.num_classes)
        self.contrastive_config = {
            "current_class_threshold": contrastive.anchor_threshold,
            "current_class_negative_threshold": 1,
            "low_rank": low_rank,
            "high_rank": high_rank,
            "temperature": contrastive.temperature,
            "num_queries": contrastive.anchors,
            "num_negatives": contrastive.negatives,
        }
        self.sizes = [bank.capacity] * self.num_classes
        if bank.background_class is not None:
            self.sizes[bank.background_class] = bank.background_capacity or bank.capacity
        self.queues = [[torch.zeros(0, representation_dim)] for _ in self.sizes]
        self.pointers = [torch.zeros(1, dtype=torch.long) for _ in self.sizes]

    def terms(self, student: Network, teacher: Network, batch: Batch, clock: Clock) -> tuple[Losses, Seen]:
        """Compute the losses of a step after the warm-up; the arguments are those of `Supervised.__call__`."""
        labels, n, size = batch.labels.long(), len(batch.labels), batch.labels.shape[-2:]
        alpha = alpha_at(self.config.alpha, clock.epoch, clock.epochs)
        with torch.no_grad():
            _, pseudo_labels = upsample(teacher(batch.unlabeled_images).logits, size).softmax(1).max(1)
            if batch.unlabeled_valid is not None:
                pseudo_labels.masked_fill_(~batch.unlabeled_valid, IGNORE)
            images, pseudo_labels, truth = self._mixed(batch, pseudo_labels, clock.step)
        everything = torch.cat([batch.labeled_images, images])
        outputs = student(everything)
        logits = outputs.logits
        large = upsample(logits, size)
        auxiliary = auxiliary_of(outputs)
        predictions = large[:n] if auxiliary is None else [large[:n], upsample(auxiliary[:n], size)]
        supervised = self.criterion(predictions, labels.clone())
        with torch.no_grad(), self._teacher(clock.step, n, len(images)):
            predicted = teacher(everything)
        judged = upsample(predicted.logits[n:], size)
        targets = pseudo_labels.clone()  # the unsupervised loss overwrites those that it drops
        percent = 100 - 100 * alpha
        unsupervised = self.losses.compute_unsupervised_loss(large[n:], targets, percent, judged)
        entropies, (low, high), gamma = self._masks(judged, pseudo_labels, alpha)
        contrastive = self._contrastive(outputs, predicted, (labels, pseudo_labels), low, high)
        loss = supervised + self.config.unsupervised_weight * unsupervised
        loss = loss + self.config.contrastive.weight * contrastive
        losses = Losses(loss, supervised.detach(), unsupervised.detach(), contrastive.detach())
        return losses, Seen(pseudo_labels, targets, truth, entropies, gamma)

    def _criterion(self) -> dict[str, Any]:
        """The supervised loss in the published words."""
        ohem = self.config.ohem
        kinds: dict[str, dict[str, Any]] = {
            "ce": {"type": "CELoss", "kwargs": {}},
            "ohem": {"type": "ohem", "kwargs": {"thresh": ohem.threshold, "min_kept": ohem.min_kept}},
        }
        network = {"aux_loss": {"loss_weight": self.auxiliary_weight}} if self.auxiliary_weight else {}
        criterion = kinds[self.config.supervised_loss]
        return {"criterion": criterion, "net": network, "dataset": {"ignore_label": IGNORE}}

    def _mixed(self, batch: Batch, pseudo_labels: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """All images of a batch or none, by the published function, which draws from numpy's global generator."""
        images, truth, config = batch.unlabeled_images, batch.unlabeled_labels.long(), self.config.mixing
        np.random.seed(derived_seed(self.seed, step, "mixing") % 2**32)
        if config.kind == "none" or np.random.uniform(0, 1) >= config.probability:
            return images, pseudo_labels, truth
        # It carries a third map along: the confidence, which nothing looks at. The truth takes its place.
        mixed = self.mix(images, pseudo_labels.clone(), truth.clone(), mode=config.kind)
        return mixed[0], mixed[1], mixed[2].long()

    @contextmanager
    def _teacher(self, step: int, *groups: int) -> Iterator[None]:
        """The teacher's mode for its second look; BatchNorm's running statistics stay what they were."""
        if not self.rules.teacher_in_training:
            yield
            return
        draws: Any = self.teacher.draws
        draws.seed = derived_seed(self.seed, 0, "reference teacher")  # its dropout is not the student's
        draws.start(step, *groups)
        before = [value.clone() for value in self.teacher.buffers()]
        self.teacher.train()
        try:
            yield
        finally:
            self.teacher.eval()
            for value, old in zip(self.teacher.buffers(), before, strict=True):
                value.copy_(old)

    def _masks(self, judged: Tensor, pseudo_labels: Tensor, alpha: float) -> tuple[Tensor, list[Tensor], float]:
        """Entropies, the masks [B,h,w] of anchors' and of negatives' pixels, and gamma_t."""
        prob = judged.softmax(1)
        entropies = -(prob * torch.log(prob + 1e-10)).sum(1)
        valid = pseudo_labels != IGNORE
        values = entropies[valid].cpu().numpy().flatten()
        gamma = float(np.percentile(values, 100 - 100 * alpha))
        if self.rules.lowest_entropies:
            low = entropies <= float(np.percentile(values, 100 * alpha))
        else:
            low = entropies < gamma
        return entropies, [low & valid, (entropies >= gamma) & valid], gamma

    def _contrastive(
        self, outputs: Outputs, predicted: Outputs, labels: tuple[Tensor, Tensor], low: Tensor, high: Tensor
    ) -> Tensor:
        """The published loss on the small map, to which labels and masks come by the nearest pixel."""
        small, n = outputs.logits.shape[-2:], len(labels[0])
        known = labels[0] != IGNORE
        masks = [torch.cat([known, mask]).float().unsqueeze(1) for mask in (low, high)]
        hot = [self.rules.one_hot(each, self.num_classes) for each in labels]
        low, high, *hot = (F.interpolate(each, small, mode="nearest") for each in (*masks, *hot))
        prob = predicted.logits.float().softmax(1)
        assert outputs.representation is not None
        assert predicted.representation is not None
        loss: Tensor
        _, loss = self.rules.contrast(
            outputs.representation.float(),
            *(each.long() for each in hot),
            prob[:n],
            prob[n:],
            low,
            high,
            self.contrastive_config,
            self.queues,
            self.pointers,
            self.sizes,
            predicted.representation.float(),
        )
        return loss


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Compute [n,C,h,w] float of labels [n,h,w] int64; 0 where a label is 255.

    The published helper gives all images' labels to the first one.
    """
    known = labels != IGNORE
    hot = F.one_hot(labels.masked_fill(~known, 0), classes) * known.unsqueeze(-1)
    return hot.permute(0, 3, 1, 2).float()
