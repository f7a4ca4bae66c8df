"""The teacher: an exponential moving average of the student, parameters and buffers."""

import copy

import torch
from torch import Tensor, nn


class Teacher:
    """EMA of a student: `teacher = m * teacher + (1 - m) * student`, for parameters and floating-point buffers.

    Integer buffers (BatchNorm's counters) are copied. The teacher's module stays in eval mode and takes no gradient.
    torch's `AveragedModel` reads its decay from a counter on the device; ours changes each step and stays on the host.
    """

    def __init__(self, student: nn.Module) -> None:
        self.module = copy.deepcopy(student).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, student: nn.Module, momentum: float) -> None:
        """One EMA step with `momentum` in [0, 1); 0 copies the student."""
        mine, theirs, counters = self._pairs(student)
        for own, other in counters:
            own.copy_(other)
        if momentum == 0.0:
            torch._foreach_copy_(mine, theirs)
        else:
            torch._foreach_lerp_(mine, theirs, 1.0 - momentum)

    def _pairs(self, student: nn.Module) -> tuple[list[Tensor], list[Tensor], list[tuple[Tensor, Tensor]]]:
        own, other = self.module.state_dict(), student.state_dict()
        floating = [name for name, value in own.items() if value.is_floating_point()]
        counters = [(own[name], other[name]) for name in own if not own[name].is_floating_point()]
        return [own[name] for name in floating], [other[name] for name in floating], counters
