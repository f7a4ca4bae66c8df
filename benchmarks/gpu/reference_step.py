"""The published U2PL step, stated plainly: our networks, the published losses, masks and bank.

After `train_semi.py` of the reference (commit ab3d2be), for one process: see `reference_objective`; then EMA tensor by
tensor, and three loss values read at the end. Its contrastive loss has published or corrected rules. Its labels are
one-hot as they were meant, which is more work than as published; the teacher is in eval mode.
"""

import types

import torch

from benchmarks.gpu.training import Training
from benchmarks.reference_losses import corrected
from benchmarks.reference_objective import ReferenceObjective, Rules, one_hot
from u2pl_ray.method.collectives import Collectives


class ReferenceStep:
    """The published step on a training's student, teacher, optimizer and batch; its queues are full.

    Args:
        training: what it is done on.
        losses: of `reference_losses.load_reference`.
        rules: `published`, or `corrected`, to the paper's, which ours follows.
    """

    def __init__(self, training: Training, losses: types.ModuleType, rules: str) -> None:
        self.training, problem = training, training.problem
        contrast = corrected(losses) if rules == "corrected" else losses.compute_contra_memobank_loss
        self.objective = ReferenceObjective(
            losses,
            Rules(contrast, one_hot, lowest_entropies=True, teacher_in_training=False),
            training.teacher.module,
            problem.method(),
            problem.classes,
            problem.dim,
            0,
            Collectives(training.device),
            training.device,
        )
        self.objective.queues = [[torch.randn(size, problem.dim)] for size in self.objective.sizes]

    def __call__(self) -> None:
        """One step."""
        training = self.training
        losses, _ = self.objective.terms(
            training.student_forward, training.teacher_forward, training.batch, training.clock()
        )
        training.optimizer.zero_grad()
        losses.total.backward()
        training.optimizer.step()
        with torch.no_grad():
            pairs = zip(training.teacher.module.parameters(), training.student.parameters(), strict=True)
            for own, other in pairs:
                own.data = 0.99 * own.data + 0.01 * other.data
        for each in (losses.supervised, losses.unsupervised, losses.contrastive):
            each.item()
