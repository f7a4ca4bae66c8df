import pytest
from ray.exceptions import ActorDiedError, NodeDiedError
from ray.train.v2._internal.exceptions import WorkerGroupStartupFailedError, WorkerGroupStartupTimeoutError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError as Unhealthy
from ray.train.v2.api.exceptions import ControllerError, PreemptionError, WorkerGroupError
from ray.train.v2.api.preemption import PreemptionInfo

from u2pl_ray.search.execution.failures import RESTARTS, Interruption, Restarts, causes_of, classify, interruption
from u2pl_ray.train.errors import NonFiniteLoss, Preempted


def of_workers(*errors: Exception) -> WorkerGroupError:
    return WorkerGroupError("", dict(enumerate(errors)))


@pytest.mark.parametrize(
    ("error", "words", "counts"),
    [
        (of_workers(Unhealthy("", ActorDiedError())), "lost a process", True),
        (
            of_workers(RuntimeError("Connection closed by peer"), Unhealthy("", ActorDiedError())),
            "lost a process",
            True,
        ),
        (of_workers(RuntimeError("gloo: Connection reset by peer [127.0.0.1]")), "lost its connection", True),
        (NodeDiedError("the node died"), "lost a process", True),
        (ControllerError(WorkerGroupStartupFailedError("At least one of the worker actors failed")), "process", True),
        (ControllerError(WorkerGroupStartupTimeoutError(2)), "no room", False),
        (PreemptionError(PreemptionInfo(None, {"node": [0]}), False), "taken away", False),
        (of_workers(Preempted("left")), "taken away", False),
        (of_workers(OSError("AWS Error NETWORK_CONNECTION during PutObject operation")), "reach the storage", False),
    ],
)
def test_losses(error: Exception, words: str, counts: bool) -> None:
    why = interruption(error)
    assert why is not None
    assert words in why.what
    assert why.counts == counts


@pytest.mark.parametrize(
    "error", [ValueError("x"), NonFiniteLoss("nan"), KeyError("a"), OSError("AWS Error ACCESS_DENIED")]
)
def test_what_a_training_raises_is_its_own(error: Exception) -> None:
    assert interruption(of_workers(error)) is None


def test_losses_without_progress_are_bounded() -> None:
    restarts, loss = Restarts(), Interruption("lost", counts=True)
    assert [restarts.allow(loss, 0) for _ in range(RESTARTS + 1)] == [True] * RESTARTS + [False]
    assert restarts.allow(loss, 1)
    assert all(restarts.allow(Interruption("preempted", counts=False), 1) for _ in range(20))


def test_causes_in_a_circle_are_each_met_once() -> None:
    first, second, third = ValueError("first"), KeyError("second"), Preempted("third")
    first.__cause__, second.__cause__ = second, third
    third.__cause__ = first
    first.cause = third  # type: ignore[attr-defined]
    assert list(causes_of(first)) == [first, third, second] or list(causes_of(first)) == [first, third]
    assert set(causes_of(first)) == {first, second, third}
    assert interruption(first) is not None
    alone = ValueError("alone")
    alone.__cause__ = alone
    assert classify(alone).detail == "ValueError: alone"
