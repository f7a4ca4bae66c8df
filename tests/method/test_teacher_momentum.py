import pytest

from u2pl_ray.method.teacher_momentum import horizon_momentum, teacher_momentum


def test_by_hand() -> None:
    assert [teacher_momentum(steps, 0.99) for steps in (0, 1, 3, 98, 99, 100, 10**6)] == pytest.approx(
        [0, 0.5, 0.75, 98 / 99, 0.99, 0.99, 0.99]
    )


def test_a_teacher_below_the_limit_is_the_mean_of_the_students() -> None:
    students, teacher = [3.0, -1.0, 4.0, 10.0], 100.0
    for step, student in enumerate(students):
        momentum = teacher_momentum(step, 0.99)
        teacher = momentum * teacher + (1 - momentum) * student
    assert teacher == pytest.approx(4.0)


def test_a_horizon_is_a_share_of_the_steps_whatever_their_number() -> None:
    assert horizon_momentum(0.1, 1000) == pytest.approx(0.99)
    assert horizon_momentum(0.1, 100) == pytest.approx(0.9)
    assert horizon_momentum(0.01, 20) == 0.0
