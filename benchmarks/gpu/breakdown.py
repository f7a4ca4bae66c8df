"""Where the time of a step goes. The device is waited for after each part, so the sum is longer than a step."""

import statistics

import torch
from torch import Tensor

from benchmarks.gpu.training import Training
from benchmarks.step_breakdown import Clocks, TimedCollectives, clocks_call
from u2pl_ray.method import objective as supervised_step
from u2pl_ray.method import pseudo_label as semi_supervised_step
from u2pl_ray.models.segmentor import Outputs

METHOD_PARTS = ("losses", "losses backward", "masks", "contrastive and bank", "collectives")
"""What is not network, optimizer or teacher."""


def breakdown(training: Training, warmup: int, steps: int) -> dict[str, float]:
    """Median milliseconds of each part of a step.

    The student's outputs are cut off from its graph, so that the losses' backward pass is timed apart from its own.
    """
    clocks = Clocks(training.device)
    term = training.objective.contrast
    training.objective.collectives = TimedCollectives(training.objective.collectives, clocks)
    contrastive = term.loss
    contrastive.collectives = training.objective.collectives
    term.loss = clocks_call(contrastive, clocks, "contrastive and bank")
    restored = supervised_step.cross_entropy, semi_supervised_step.pseudo_label_loss
    supervised_step.cross_entropy = clocks.wrap("losses", restored[0])
    semi_supervised_step.pseudo_label_loss = clocks.wrap("losses", restored[1])
    kept: list[Tensor] = []
    leaves: list[Tensor] = []

    def student(images: Tensor) -> Outputs:
        with clocks.part("student forward"):
            outputs = training.student_forward(images)
        assert outputs.representation is not None
        kept[:] = outputs.logits, outputs.representation
        leaves[:] = [output.detach().requires_grad_() for output in kept]
        return Outputs(*leaves)

    rows: list[dict[str, float]] = []
    try:
        for index in range(warmup + steps):
            clocks.seconds.clear()
            with clocks.part("masks"):  # what of it is another part is counted there
                losses, stats = training.objective(
                    student, clocks.wrap("teacher forward", training.teacher_forward), training.batch, training.clock()
                )
            with clocks.part("losses backward"):
                losses.total.backward()
            with clocks.part("student backward"):
                torch.autograd.backward(kept, [leaf.grad for leaf in leaves])
            with clocks.part("optimizer"):
                training.optimizer.step()
                training.optimizer.zero_grad(set_to_none=True)
            with clocks.part("teacher EMA"):
                training.teacher.update(training.student, 0.99)
            with clocks.part("diagnostics"):
                training.diagnostics.add(losses, stats)
            if index >= warmup:
                rows.append(dict(clocks.seconds))
    finally:
        supervised_step.cross_entropy, semi_supervised_step.pseudo_label_loss = restored
        term.loss = contrastive
    return {name: 1e3 * statistics.median(row.get(name, 0.0) for row in rows) for name in sorted(rows[0])}


def method_share(parts: dict[str, float]) -> float:
    """Losses, masks, contrastive term and bank, as a share of the step."""
    return sum(parts.get(name, 0.0) for name in METHOD_PARTS) / sum(parts.values())
