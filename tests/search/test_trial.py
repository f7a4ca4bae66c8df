import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ray.exceptions import OutOfMemoryError, RayTaskError
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.assignment import Outcome
from u2pl_ray.search.execution.failures import classify
from u2pl_ray.search.execution.trial_actor import ReportCallback, Training, load_callable
from u2pl_ray.search.study.trial_record import State
from u2pl_ray.train.errors import CorruptCheckpoint, NonFiniteLoss

CPU_ALLOCATION = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory"
)


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), State.INFEASIBLE, "memory"),
        (CPU_ALLOCATION, State.INFEASIBLE, "memory"),
        (MemoryError(), State.INFEASIBLE, "memory"),
        (OutOfMemoryError("Task was killed due to the node running low on memory."), State.INFEASIBLE, "memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), State.INFEASIBLE, "memory"),
        (NonFiniteLoss("the training loss is nan in epoch 2"), State.FAILED, "nan"),
        (UserError("model.encoder: no such encoder"), State.INFEASIBLE, "refused"),
        (ValueError("shape mismatch"), State.FAILED, "error"),
        (CorruptCheckpoint("checkpoint.pt: its content does not match"), State.FAILED, "error"),
    ],
)
@pytest.mark.parametrize("wrapping", ["bare", "worker", "controller"])
def test_what_ended_a_training(error: Exception, state: State, reason: str, wrapping: str) -> None:
    last = str(error).splitlines()[-1] if str(error) else type(error).__name__
    if wrapping == "worker":
        text = f"Traceback (most recent call last):\n  ...\n{type(error).__module__}.{type(error).__name__}: {error}"
        error = WorkerGroupError("rank 0 failed", {0: UserExceptionWithTraceback(error, text)})
    elif wrapping == "controller":
        error = ControllerError(error)
    outcome = classify(error)
    assert (outcome.state, outcome.reason) == (state, reason)
    assert last in outcome.detail
    assert "\n" not in outcome.detail


MANY_LINES = "CUDA error: {}\nCUDA kernel errors might be reported late\nFor debugging pass CUDA_LAUNCH_BLOCKING=1"
LOW = (
    "1 worker(s) were killed due to the node running low on memory.\nMemory on the node (IP: 10.0.0.1, ID: ab) was "
    "15.20GB used / 16.00GB limit (0.95)\nTop 10 memory users: PID\tMEM(GB)\tCOMMAND\n11\t15.0\tray::RayTrainWorker\n"
)


@pytest.mark.parametrize(
    ("error", "reason", "detail"),
    [
        (RuntimeError(MANY_LINES.format("out of memory")), "memory", "RuntimeError: CUDA error: out of memory; lower"),
        (RuntimeError(MANY_LINES.format("misaligned address")), "error", "CUDA error: misaligned address"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "memory", "CUDNN_STATUS_ALLOC_FAILED"),
        (RuntimeError("NCCL error\nLast error:\nCuda failure 2 'out of memory'"), "memory", "Cuda failure 2"),
        (OutOfMemoryError(LOW), "memory", "OutOfMemoryError: Memory on the node (IP: 10.0.0.1, ID: ab) was 15.20GB"),
    ],
)
def test_the_line_that_says_what_happened_is_kept(error: Exception, reason: str, detail: str) -> None:
    outcome = classify(WorkerGroupError("rank 0 failed", {0: error}))
    assert outcome.reason == reason
    assert detail in outcome.detail


def test_an_exception_that_came_through_ray() -> None:
    cause = NonFiniteLoss("the training loss is nan")
    assert classify(RayTaskError("f", "traceback", cause).as_instanceof_cause()).reason == "nan"


def test_load_callable() -> None:
    assert load_callable("u2pl_ray.search.execution.failures:classify") is classify


def test_a_checkpoints_path_is_kept_below_its_trial() -> None:
    reports: list[dict[str, Any]] = []
    callback = ReportCallback(reports.append, "/0003")
    checkpoint = SimpleNamespace(path="/storage/0003/trials/0003/train/epoch_00002")
    callback.after_report(None, [{"a": 1}, {"a": 2}], checkpoint)
    callback.after_report(None, [{"a": 3}], None)
    assert reports == [{"a": 1, "checkpoint": "train/epoch_00002"}, {"a": 3}]
    callback.stop()
    with pytest.raises(RuntimeError, match="stopped"):
        callback.after_report(None, [{"a": 4}], None)
    pickle.dumps(ReportCallback(SimpleNamespace(lock=callback), "/0003"))  # goes to the workers, without its queue


class Unspeakable(Exception):
    """Cannot be told: classifying it raises."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class InACircle(Exception):
    """Is its own cause, at one remove."""

    def __init__(self) -> None:
        super().__init__("round and round")
        self.__cause__ = ValueError("inner")
        self.__cause__.__cause__ = self


class Leaves(BaseException):
    """No `Exception`, as SystemExit is none."""


def build_raising(name: str, storage_path: str, **arguments: Any) -> Any:
    """A trainer that cannot be built, in the way that the storage path's last part names."""
    raise {"unspeakable": Unspeakable, "circle": InACircle, "leaves": Leaves}[storage_path.rpartition("/")[2]]()


@pytest.mark.parametrize("kind", ["unspeakable", "circle", "leaves"])
def test_every_way_out_of_a_training_tells_its_end(kind: str, tmp_path: Path) -> None:
    training = Training(
        lambda group: None,
        lambda: None,
        f"{__name__}:build_raising",
        config=Config(),
        storage_path=f"{tmp_path}/{kind}",
        name="train",
        reported_epochs=0,
    )
    outcome = training._items.get(timeout=30)
    assert isinstance(outcome, Outcome)
    assert (outcome.state, outcome.reason) == (State.FAILED, "error")
    assert outcome.detail
    assert training.stop()
