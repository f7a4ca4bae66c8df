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


def test_every_step_is_the_plain_formula_to_the_last_bit() -> None:
    """After a checkpoint was read and the networks were moved, too; and the names are looked for once."""
    torch.manual_seed(0)
    student: nn.Module = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Linear(5, 5))
    teacher = Teacher(student)
    asked = []
    student.register_state_dict_post_hook(lambda *_: asked.append(1))
    expected = {name: value.clone() for name, value in teacher.module.state_dict().items()}
    asked.clear()
    for number in range(6):
        if number == 2:
            kept = {name: value.clone() for name, value in expected.items()}
            teacher.module.load_state_dict(kept)
        if number == 4:  # moving exchanges the buffers: to another type here, to another device elsewhere
            for network in (student, teacher.module):
                network.double()
            expected = {name: value.to(teacher.module.state_dict()[name]) for name, value in expected.items()}
        student.train()(torch.randn(4, 2, 5, 5, dtype=next(student.parameters()).dtype))
        with torch.no_grad():
            for parameter in student.parameters():
                parameter.add_(torch.randn_like(parameter))
        teacher.update(student, momentum=0.9 * (number != 3))
        now = dict(student.named_parameters()) | dict(student.named_buffers())
        for name, value in expected.items():
            if number == 3 or not value.is_floating_point():
                expected[name] = now[name].detach().clone()
            else:
                expected[name] = value.lerp(now[name].detach(), 1.0 - 0.9)
        for name, value in teacher.module.state_dict().items():
            assert torch.equal(value, expected[name]), (number, name)
    assert len(asked) <= 1
