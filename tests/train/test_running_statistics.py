"""Which buffers workers average: those that differ between them."""

from typing import Any

import torch
from torch import Tensor

from u2pl_ray.config.schema import ModelConfig
from u2pl_ray.models.segmentor import Segmentor
from u2pl_ray.train.running_statistics import RunningStatistics


class Three:
    """Collectives of three workers that have the same values."""

    def __init__(self) -> None:
        self.sent: list[int] = []

    def sum(self, *tensors: Tensor) -> list[Tensor]:
        self.sent.append(len(tensors))
        return [value + value + value for value in tensors]


def network(**changes: object) -> Segmentor:
    settings = {"architecture": "FPN", "encoder": "tu-resnet10t", "representation_dim": 8, **changes}
    return Segmentor(ModelConfig.model_validate(settings), 3).train()


def average(student: Segmentor) -> list[int]:
    three: Any = Three()
    RunningStatistics(student, three, 3).average()
    return list(three.sent)


def test_running_means_and_variances_alone() -> None:
    student = network()
    constant = torch.tensor(0.1)
    student.register_buffer("constant", constant)
    layers = sum(isinstance(module, torch.nn.BatchNorm2d) for module in student.modules())
    assert average(student) == [2 * layers]
    assert torch.equal(constant, torch.tensor(0.1))  # 0.1 + 0.1 + 0.1 is not 3 * 0.1


def test_frozen_statistics_are_left_alone() -> None:
    frozen, student = network(freeze_statistics=True), network()
    inside = sum(isinstance(module, torch.nn.BatchNorm2d) for module in student.encoder.modules())
    assert average(frozen) == [average(student)[0] - 2 * inside]
    before = {name: value.clone() for name, value in frozen.encoder.named_buffers()}
    average(frozen)
    assert all(torch.equal(value, before[name]) for name, value in frozen.encoder.named_buffers())


def test_without_any_there_is_no_collective() -> None:
    assert average(network(normalization="frozen")) == []
    assert average(network(normalization="group")) == []
