"""The published U2PL step, stated plainly: our networks, the published losses, masks and bank.

After `train_semi.py` of the reference (commit ab3d2be), for one process: pseudo-labels of the teacher, CutMix image by
image every other time, percentiles on the host, one-hot labels, a queue per class on the host, EMA tensor by tensor,
three loss values read at the end. The bilinear upsampling is ours (corners not aligned); the teacher is in
eval mode.
"""

import types
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.gpu.training import Training
from benchmarks.loss_problems import ALPHA
from benchmarks.reference_losses import corrected
from u2pl_ray.config.schema import IGNORE


class ReferenceStep:
    """The published step on a training's student, teacher, optimizer and batch.

    Args:
        training: what it is done on.
        losses: of `reference_losses.load_reference`.
        rules: `published`, or `corrected`, to the paper's, which ours follows.
    """

    def __init__(self, training: Training, losses: types.ModuleType, rules: str) -> None:
        self.training, self.losses, problem = training, losses, training.problem
        self.contrast = corrected(losses) if rules == "corrected" else losses.compute_contra_memobank_loss
        contrastive = problem.method().contrastive
        self.config = {
            "current_class_threshold": contrastive.anchor_threshold,
            "current_class_negative_threshold": 1,
            "low_rank": contrastive.low_rank,
            "high_rank": contrastive.high_rank,
            "temperature": contrastive.temperature,
            "num_queries": contrastive.anchors,
            "num_negatives": contrastive.negatives,
        }
        self.sizes = [5 * problem.capacity // 3] + [problem.capacity] * (problem.classes - 1)
        self.queues = [[torch.randn(size, problem.dim)] for size in self.sizes]
        self.pointers = [torch.zeros(1, dtype=torch.long) for _ in self.sizes]
        self.weight = contrastive.weight
        self.random = np.random.default_rng(0)

    def __call__(self) -> None:
        """One step."""
        training, batch = self.training, self.training.batch
        training.clock()
        labels, n = batch.labels.long(), len(batch.labels)
        size = labels.shape[-2:]
        training.teacher.module.eval()
        weak = training.teacher_forward(batch.unlabeled_images).logits
        _, pseudo_labels = _large(weak, size).softmax(1).max(1)
        images = batch.unlabeled_images
        if self.random.random() < 0.5:
            images, pseudo_labels = self._cutmix(images, pseudo_labels)
        everything = torch.cat([batch.labeled_images, images])
        logits, representation, _ = training.student_forward(everything)
        assert representation is not None
        large = _large(logits, size)
        supervised = F.cross_entropy(large[:n], labels, ignore_index=IGNORE)
        with torch.no_grad():
            predicted = training.teacher_forward(everything)
            prob = predicted.logits.float().softmax(1)
            teacher_large = _large(predicted.logits[n:], size)
        percent = 100 * (1 - ALPHA)
        unsupervised = self.losses.compute_unsupervised_loss(large[n:], pseudo_labels.clone(), percent, teacher_large)
        low, high = self._masks(teacher_large, labels, pseudo_labels, logits.shape[-2:])
        one_hot = (self._one_hot(each, logits.shape[-2:]) for each in (labels, pseudo_labels))
        assert predicted.representation is not None
        _, contrastive = self.contrast(
            representation.float(),
            *one_hot,
            prob[:n],
            prob[n:],
            low,
            high,
            self.config,
            self.queues,
            self.pointers,
            self.sizes,
            predicted.representation.float(),
        )
        loss = supervised + unsupervised + self.weight * contrastive
        training.optimizer.zero_grad()
        loss.backward()
        training.optimizer.step()
        with torch.no_grad():
            pairs = zip(training.teacher.module.parameters(), training.student.parameters(), strict=True)
            for own, other in pairs:
                own.data = 0.99 * own.data + 0.01 * other.data
        for each in (supervised, unsupervised, contrastive):
            each.item()

    def _cutmix(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Each image with a box of half its area from the next."""
        side, mixed, mixed_labels = images.shape[-1], [], []
        for i in range(len(images)):
            width = int(self.random.integers(side // 2 + 1, side))
            height = round(side * side / 2 / width)
            x, y = (int(self.random.integers(0, side - extent + 1)) for extent in (width, height))
            keep = torch.ones(side, side, dtype=torch.long)
            keep[y : y + height, x : x + width] = 0
            keep = keep.to(images.device)
            other = (i + 1) % len(images)
            mixed.append(images[i] * keep + images[other] * (1 - keep))
            mixed_labels.append(labels[i] * keep + labels[other] * (1 - keep))
        return torch.stack(mixed), torch.stack(mixed_labels)

    @torch.no_grad()
    def _masks(self, teacher: Tensor, labels: Tensor, pseudo_labels: Tensor, small: torch.Size) -> list[Tensor]:
        """Low and high entropy on the small map, [2n, 1, H, W] float."""
        prob = teacher.softmax(1)
        entropies = -(prob * torch.log(prob + 1e-10)).sum(1)
        valid = pseudo_labels != IGNORE
        masks = []
        for share, compare in ((100 * ALPHA, torch.le), (100 * (1 - ALPHA), torch.ge)):
            threshold = np.percentile(entropies[valid].cpu().numpy().flatten(), share)
            mask = torch.cat([(labels != IGNORE).float(), compare(entropies, float(threshold)).float() * valid])
            masks.append(F.interpolate(mask.unsqueeze(1), small, mode="nearest"))
        return masks

    @torch.no_grad()
    def _one_hot(self, labels: Tensor, small: torch.Size) -> Any:
        """Labels on the small map, [n, C, H, W] long; correct ones, unlike those of the published helper."""
        known = labels != IGNORE
        hot = F.one_hot(labels.masked_fill(~known, 0), self.training.problem.classes) * known.unsqueeze(-1)
        return F.interpolate(hot.permute(0, 3, 1, 2).float(), small, mode="nearest").long()


def _large(logits: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)
