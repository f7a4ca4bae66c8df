"""A student, a teacher and one batch: the steps whose time is taken."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from u2pl_ray.config.method import MethodConfig
from u2pl_ray.config.schema import ModelConfig, OptimConfig
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.objective import build_objective
from u2pl_ray.method.types import Batch, Clock
from u2pl_ray.models.segmentor import Outputs, Segmentor
from u2pl_ray.models.teacher import Teacher
from u2pl_ray.train.diagnostics import Diagnostics
from u2pl_ray.train.optimizer import build_optimizer


@dataclass(frozen=True)
class Problem:
    """Network and batch: `images` labeled ones and as many unlabeled ones, `crop` x `crop`."""

    architecture: str
    encoder: str
    crop: int
    images: int
    classes: int
    dim: int
    capacity: int
    warmup: int
    steps: int

    def model(self) -> ModelConfig:
        """The network's settings; random weights."""
        return ModelConfig(architecture=self.architecture, encoder=self.encoder, representation_dim=self.dim)

    def method(self) -> MethodConfig:
        """The paper's settings, with ranks that suit the number of classes."""
        return MethodConfig.model_validate(
            {
                "name": "u2pl",
                "contrastive": {"low_rank": min(3, self.classes - 2), "high_rank": min(20, self.classes)},
                "memory_bank": {"capacity": self.capacity, "background_capacity": 5 * self.capacity // 3},
            }
        )

    def batch(self, device: torch.device) -> Batch:
        """Random images, and blocky labels with a little 255."""
        draws = torch.Generator().manual_seed(0)
        shape = (self.images, self.crop, self.crop)

        def images() -> Tensor:
            return torch.randn(self.images, 3, self.crop, self.crop, generator=draws).to(device)

        def labels() -> Tensor:
            blocks = torch.randint(self.classes, (self.images, 1, 12, 12), generator=draws).float()
            large = torch.nn.functional.interpolate(blocks, self.crop, mode="nearest")[:, 0].to(torch.uint8)
            return large.masked_fill(torch.rand(shape, generator=draws) < 0.03, 255).to(device)

        return Batch(images(), labels(), images(), labels(), torch.ones(shape, dtype=torch.bool, device=device))


@dataclass(frozen=True)
class Numerics:
    """How the networks compute."""

    bfloat16: bool = False
    channels_last: bool = False
    compiled: bool = False


class Training:
    """The optimizer step of the worker, on one batch again and again, the bank full as it is in a long training.

    Args:
        problem: network and batch.
        numerics: precision, memory format, compilation.
        device: where.
        backend: of torch.compile.
    """

    def __init__(self, problem: Problem, numerics: Numerics, device: torch.device, backend: str = "inductor") -> None:
        torch.manual_seed(0)
        self.problem, self.numerics, self.device = problem, numerics, device
        student: Any = Segmentor(problem.model(), problem.classes).to(device).train()
        if numerics.channels_last:
            student = student.to(memory_format=torch.channels_last)
        self.student = student
        self.teacher = Teacher(student)
        self.forwards: list[Any] = [student, self.teacher.module]
        if numerics.compiled:
            self.forwards = [torch.compile(network, backend=backend) for network in self.forwards]
        self.optimizer = build_optimizer(OptimConfig(), student)
        objective: Any = build_objective(problem.method(), problem.classes, problem.dim, 0, Collectives(device), device)
        self.objective = objective
        bank = self.objective.contrast.loss.bank
        bank.keys.copy_(torch.nn.functional.normalize(torch.randn(bank.keys.shape, device=device), dim=1))
        bank.fill.copy_(bank.capacity)
        self.diagnostics = Diagnostics([str(index) for index in range(problem.classes)], device)
        self.batch = problem.batch(device)
        self.done = 0

    def clock(self) -> Clock:
        """Early in a training, when alpha is large; counts the steps."""
        self.done += 1
        self.student.draws.start(self.done, self.problem.images, self.problem.images)
        return Clock(epoch=1, epochs=10, step=self.done)

    def student_forward(self, images: Tensor) -> Outputs:
        """The student, as numerics say."""
        return self._forward(self.forwards[0], images)

    def teacher_forward(self, images: Tensor) -> Outputs:
        """The teacher, as numerics say."""
        with torch.no_grad():
            return self._forward(self.forwards[1], images)

    def step(self) -> None:
        """Do what `train.loop` does in a step."""
        losses, stats = self.objective(self.student_forward, self.teacher_forward, self.batch, self.clock())
        self.optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        self.optimizer.step()
        self.teacher.update(self.student, 0.99)
        self.diagnostics.add(losses, stats)

    def _forward(self, network: Any, images: Tensor) -> Outputs:
        if self.numerics.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        context: Any = torch.autocast(self.device.type, torch.bfloat16) if self.numerics.bfloat16 else nullcontext()
        with context:
            outputs: Outputs = network(images)
        return outputs
