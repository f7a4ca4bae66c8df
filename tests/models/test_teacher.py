import torch
from torch import nn

from u2pl_ray.models.teacher import Teacher


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))


def first(module: nn.Module) -> nn.Conv2d:
    layer = next(module.children())
    assert isinstance(layer, nn.Conv2d)
    return layer


def test_update_is_the_ema_of_parameters_and_buffers() -> None:
    student = network()
    teacher = Teacher(student)
    before = {name: value.clone() for name, value in teacher.module.state_dict().items()}
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    student.train()(torch.randn(4, 2, 5, 5))  # moves the running statistics and the counter
    teacher.update(student, momentum=0.75)
    for name, value in teacher.module.state_dict().items():
        now = student.state_dict()[name]
        expected = 0.75 * before[name] + 0.25 * now if value.is_floating_point() else now
        torch.testing.assert_close(value, expected)


def test_zero_momentum_copies_without_sharing_storage() -> None:
    student = network()
    teacher = Teacher(student)
    with torch.no_grad():
        first(student).weight.add_(1.0)
    teacher.update(student, momentum=0.0)
    assert torch.equal(first(teacher.module).weight, first(student).weight)
    with torch.no_grad():
        first(student).weight.zero_()
    assert first(teacher.module).weight.abs().sum() > 0


def test_teacher_takes_no_gradient_and_stays_in_eval_mode() -> None:
    teacher = Teacher(network().train())
    assert not teacher.module.training
    assert not any(parameter.requires_grad for parameter in teacher.module.parameters())
