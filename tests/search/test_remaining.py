"""Which trials count, and how many are left: the one rule that driver, status and report go by."""

from u2pl_ray.search.study.remaining import counted, remaining
from u2pl_ray.search.study.trial_record import Fork, State, TrialRecord


def record(number: int, state: State = State.COMPLETED, **more: object) -> TrialRecord:
    return TrialRecord(f"{number:04d}", number, state, **more)  # type: ignore[arg-type]


def test_invalid_ones_forks_and_those_done_again_do_not_count() -> None:
    records = [
        record(0),
        record(1, State.INFEASIBLE, reason="invalid"),
        record(2, State.INFEASIBLE, reason="memory"),
        record(3, State.FAILED, reason="error"),
        record(4, State.PENDING, retries=3),
        record(5, fork=Fork(0, 3, 2)),
    ]
    assert [it.number for it in counted(records)] == [0, 2, 4]


def test_open_trials_missing_ones_and_forks_that_are_due_are_left() -> None:
    records = [record(0), record(1, State.RUNNING), record(2, State.PENDING)]
    assert remaining(records, 3) == 2
    assert remaining(records, 5) == 4
    assert remaining(records, 5, forks_due=1) == 5
    assert remaining([record(0)], 1) == 0
    assert remaining([record(0)], None) == 1
