"""The teacher: an exponential moving average of the student, parameters and buffers."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

_Holder = dict[str, Any]
"""A module's own parameters or buffers, by name."""
_Place = tuple[_Holder, _Holder, str]
"""A tensor of the teacher and of the student: what holds them, and their name there."""


class Teacher:
    """EMA of a student: `teacher = m * teacher + (1 - m) * student`, for parameters and floating-point buffers.

    Integer buffers (BatchNorm's counters) are copied. The teacher's module stays in eval mode and takes no gradient.
    torch's `AveragedModel` reads its decay from a counter on the device; ours changes each step and stays on the host.
    """

    def __init__(self, student: nn.Module) -> None:
        self.module = copy.deepcopy(student).requires_grad_(False).eval()
        self._student: nn.Module | None = None
        self._floating: list[_Place] = []
        self._counters: list[_Place] = []

    @torch.no_grad()
    def update(self, student: nn.Module, momentum: float) -> None:
        """One EMA step with `momentum` in [0, 1); 0 copies the student."""
        if self._student is not student:
            self._find(student)
        mine, theirs = _tensors(self._floating)
        if momentum == 0.0:
            torch._foreach_copy_(mine, theirs)
        else:
            torch._foreach_lerp_(mine, theirs, 1.0 - momentum)
        if self._counters:
            torch._foreach_copy_(*_tensors(self._counters))

    def _find(self, student: nn.Module) -> None:
        """Note where each tensor of the state is: to look for them by name costs more than the step itself.

        Not the tensors: moving a network to another device exchanges its buffers.
        """
        self._student, self._floating, self._counters = student, [], []
        for name, value in self.module.state_dict().items():
            path, _, leaf = name.rpartition(".")
            holders = [_holder(network.get_submodule(path), leaf) for network in (self.module, student)]
            (self._floating if value.is_floating_point() else self._counters).append((holders[0], holders[1], leaf))


def _holder(module: nn.Module, leaf: str) -> _Holder:
    return module._parameters if leaf in module._parameters else module._buffers


def _tensors(places: list[_Place]) -> tuple[list[Tensor], list[Tensor]]:
    """Return the teacher's tensors and the student's."""
    return [own[leaf] for own, _, leaf in places], [other[leaf] for _, other, leaf in places]
