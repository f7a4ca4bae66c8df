"""A training that goes on with another one's checkpoint."""

from pathlib import Path

import pytest

from tests.train.conftest import folder_of, tiny, without_timing
from tests.train.test_loop import CPU, assert_same_state, train
from u2pl_ray.train.checkpoint import load
from u2pl_ray.train.loop import Worker
from u2pl_ray.train.session import LocalSession


def test_with_the_same_settings_it_is_the_parents_own_continuation(tmp_path: Path) -> None:
    parent, reports = train(tiny(), tmp_path / "parent")
    forked: list[dict[str, object]] = []
    fork = Worker(tiny(), LocalSession(tmp_path / "fork", forked.append), CPU)
    fork.run(2, folder_of(tmp_path / "parent", 2))
    assert [without_timing(report) for report in forked] == [without_timing(reports[2])]
    assert_same_state(fork.state(), parent.state())


def test_settings_are_its_own_and_the_state_is_the_parents(tmp_path: Path) -> None:
    train(tiny(), tmp_path)
    state = load(folder_of(tmp_path, 2))
    fill = state["objective"]["memory_bank"]["fill"]
    assert fill.max() > 8
    changed = tiny("method.memory_bank.capacity=8", "optim.lr=0.04", "optim.momentum=0.5", "optim.poly_power=2")
    fork = Worker(changed, LocalSession(), CPU)
    fork.continue_from(state)
    assert [group["lr"] for group in fork.optimizer.param_groups] == pytest.approx(
        [0.04 * (1 - 4 / 6) ** 2, 0.4 * (1 - 4 / 6) ** 2]
    )
    assert {group["momentum"] for group in fork.optimizer.param_groups} == {0.5}
    kept = fork.state()
    assert kept["objective"]["memory_bank"]["fill"].tolist() == fill.clamp_max(8).tolist()
    assert_same_state(
        {"student": kept["student"], "teacher": kept["teacher"], "momenta": kept["optimizer"]["state"]},
        {"student": state["student"], "teacher": state["teacher"], "momenta": state["optimizer"]["state"]},
    )
    fork.run(2)  # to the end, at its own rates
    assert fork.position.epochs_done == 3
    assert fork.optimizer.param_groups[0]["lr"] == 0.0


def test_with_other_steps_its_rate_is_that_of_as_many_epochs(tmp_path: Path) -> None:
    train(tiny(), tmp_path)
    state = load(folder_of(tmp_path, 2))  # of 3 epochs, 4 steps
    fork = Worker(tiny("train.steps_per_epoch=1", "optim.poly_power=1"), LocalSession(), CPU)
    fork.continue_from(state)
    assert [group["lr"] for group in fork.optimizer.param_groups] == pytest.approx([0.02 / 3, 0.2 / 3])
    more = Worker(tiny("train.steps_per_epoch=4", "optim.poly_power=1"), LocalSession(), CPU)
    more.continue_from(state)
    assert more.optimizer.param_groups[0]["lr"] == pytest.approx(0.02 / 3)
    more.train_epoch()
    assert more.optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-9)
