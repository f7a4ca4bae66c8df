import errno
import pickle
from pathlib import Path

import pytest
import torch
from pyarrow.fs import LocalFileSystem
from ray.exceptions import ActorDiedError, NodeDiedError, OutOfMemoryError
from ray.train.v2._internal.exceptions import (
    UserExceptionWithTraceback,
    WorkerGroupStartupFailedError,
    WorkerGroupStartupTimeoutError,
)
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError as Unhealthy
from ray.train.v2.api.exceptions import ControllerError, PreemptionError, WorkerGroupError
from ray.train.v2.api.preemption import PreemptionInfo

from u2pl_ray.config.errors import LostError
from u2pl_ray.search.execution.failures import RESTARTS, Interruption, Restarts, causes_of, classify, interruption
from u2pl_ray.search.study.trial_record import State
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
        (of_workers(LostError("s3://a/b: no byte for 600 s")), "reach its data", True),
        (of_workers(RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error.")), "loader process", True),
        (of_workers(RuntimeError("DataLoader timed out after 60 seconds")), "resources.batch_seconds", True),
        (of_workers(RuntimeError("[gloo] Timed out waiting 1200000ms for recv")), "resources.wait_minutes", True),
    ],
)
def test_losses(error: Exception, words: str, counts: bool) -> None:
    why = interruption(error)
    assert why is not None
    assert words in why.what
    assert why.counts == counts


def test_an_exception_in_a_loader_process_is_the_training_s_own() -> None:
    error = of_workers(KeyError("Caught KeyError in DataLoader worker process 0.\nTraceback ..."))
    assert interruption(error) is None
    assert classify(error).reason == "error"


def full() -> OSError:
    """Python's error of a disk that is full: /dev/full is one."""
    with pytest.raises(OSError, match="No space") as caught:
        Path("/dev/full").write_text("x")
    return caught.value


def full_to_pyarrow() -> OSError:
    with pytest.raises(OSError, match="No space") as caught, LocalFileSystem().open_output_stream("/dev/full") as file:
        file.write(b"x")
    return caught.value


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (of_workers(full()), "No space left on device"),
        (of_workers(UserExceptionWithTraceback(full_to_pyarrow(), "Traceback ...")), "No space left on device"),
        (of_workers(OSError(str(full_to_pyarrow()))), "No space left on device"),
        (of_workers(OSError("Caught OSError in DataLoader worker process 0.\nOSError: [Errno 5] ...")), "Input/output"),
        (ControllerError(OSError(errno.ESTALE, "Stale file handle")), "Stale file handle"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "quota"),
    ],
)
def test_a_folder_that_fails_is_no_training_s_fault(error: Exception, words: str) -> None:
    why = interruption(pickle.loads(pickle.dumps(error)))
    assert why is not None
    assert why.what.startswith("cannot read or write its files (")
    assert words in why.what
    assert (why.counts, why.pause, why.reason) == (True, 60.0, "environment")


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        PermissionError(errno.EACCES, "Permission denied"),
        OSError("model.pt: not an image [Errno 2]"),
        RuntimeError("[Errno 28] in a text is not the file system's word"),
    ],
)
def test_other_errors_of_files_are_the_training_s_own(error: Exception) -> None:
    assert interruption(of_workers(error)) is None


ON_A_GPU = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which {free} is free. "
    "{others}Including non-PyTorch memory, this process has {own} memory in use. Of the allocated memory 36.00 GiB is "
    "allocated by PyTorch, and 512.00 MiB is reserved by PyTorch but unallocated."
)
ON_A_NODE = (
    "Memory on the node (IP: 10.0.0.1, ID: ab) was 15.20GB used / 16.00GB limit (0.95)\nTop 10 memory users: "
    "PID\tMEM(GB)\tCOMMAND\n11\t{ray}\tray::RayTrainWorker\n12\t{other}\t/usr/bin/python other.py\n"
)


@pytest.mark.parametrize(
    ("error", "others"),
    [
        (torch.OutOfMemoryError(ON_A_GPU.format(free="512.00 MiB", own="78.00 GiB", others="")), 0.0),
        (
            torch.OutOfMemoryError(
                ON_A_GPU.format(free="1.10 GiB", own="38.00 GiB", others="Process 4711 has 40.00 GiB memory in use. ")
            ),
            40.0,
        ),
        # where the GPU's library cannot be asked, without either process
        (
            torch.OutOfMemoryError(ON_A_GPU.format(free="1.10 GiB", own="?", others="").replace("this process", "")),
            41.5,
        ),
        (OutOfMemoryError(ON_A_NODE.format(ray="13.10", other="1.50")), 0.0),
        (OutOfMemoryError(ON_A_NODE.format(ray="5.20", other="9.00")), 10.0),
        (MemoryError(), 0.0),
    ],
)
def test_out_of_memory_is_the_settings_only_when_nobody_else_held_any(error: Exception, others: float) -> None:
    raised = of_workers(error)
    why, outcome = interruption(raised), classify(raised)
    if not others:
        assert why is None
        assert (outcome.state, outcome.reason) == (State.INFEASIBLE, "memory")
        assert "lower train.micro_batch_size" in outcome.detail
    else:
        assert why == Interruption(
            f"ran out of memory while other programs held {others:.1f} GiB of it",
            True,
            pause=60.0,
            reason="environment",
        )
        assert outcome.reason == "error"  # which is what is looked into for an interruption


TWO_ON_A_NODE = ON_A_NODE.replace(
    "12\t{other}\t/usr/bin/python other.py", "12\t{other}\tray::_RayTrainWorker__execute.get"
)


@pytest.mark.parametrize(
    ("other", "workers", "held"),
    [
        ("7.00", 1, 7.0),
        ("7.00", 2, 0.0),  # both are its own
        ("0.90", 1, 0.0),  # its loader process
    ],
)
def test_a_node_that_trainings_filled_together_bans_no_setting(other: str, workers: int, held: float) -> None:
    error = of_workers(OutOfMemoryError(TWO_ON_A_NODE.format(ray="7.50", other=other).replace("15.20", "9.00")))
    error.__cause__ = error.worker_failures[0].__cause__ = OutOfMemoryError(str(error.worker_failures[0]))
    outcome, why = classify(error, workers), interruption(error, workers)
    if held:
        what = f"ran out of memory while trainings beside it held {held:.1f} GiB of it"
        assert (outcome.reason, why) == ("error", Interruption(what, True, pause=60.0, reason="lost"))
    else:
        assert ((outcome.state, outcome.reason), why) == ((State.INFEASIBLE, "memory"), None)


def test_trainings_that_share_a_gpu_are_no_environment() -> None:
    error = of_workers(torch.OutOfMemoryError(ON_A_GPU.format(free="1.10 GiB", own="38.00 GiB", others="")))
    alone, beside = interruption(error, 1, shared=False), interruption(error, 1, shared=True)
    assert alone is not None
    assert beside is not None
    assert (alone.reason, beside.reason) == ("environment", "lost")
    assert "trainings beside it" in beside.what


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
