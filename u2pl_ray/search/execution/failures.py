"""Decide whether a failed training is restarted within its trial, and classify its end.

A training that lost a process or a machine is restarted, one that raised an exception is not: a lost process says
nothing about the setting. A restart continues from the newest checkpoint, so at most one epoch is repeated. The number
of restarts without a finished epoch in between is limited, as the training itself may kill its processes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from u2pl_ray.config.errors import LostError, UserError
from u2pl_ray.search.driver.assignment import Outcome
from u2pl_ray.search.execution.memory import PROGRAMS, held_by_others
from u2pl_ray.search.study.trial_record import State
from u2pl_ray.system.stores import OUTAGES, failing

RESTARTS = 3
"""Largest number of restarts in a row without a finished epoch in between."""

_PREEMPTED = {"PreemptionError", "Preempted"}
_NO_ROOM = {"WorkerGroupStartupTimeoutError"}
_LOST = {
    "RayActorError",  # and its subclasses: a process, or a node, is gone
    "NodeDiedError",
    "WorkerCrashedError",
    "WorkerGroupStartupFailedError",
    "WorkerHealthCheckFailedError",
    "WorkerHealthCheckTimeoutError",
}
_SEVERED = (
    "Connection closed by peer",
    "Connection reset by peer",
    "NCCL communicator was aborted",
    "Broken pipe",
)
"""Messages of the other workers when one is gone; they may arrive before Ray reports the loss."""
_SIGNS = (
    (("DataLoader worker (pid",), "lost a loader process (killed? memory or /dev/shm too small? see its log)"),
    (("DataLoader timed out",), "waited longer than resources.batch_seconds for a batch of its loader processes"),
    (("Timed out waiting", "collective operation timeout"), "waited longer than resources.wait_minutes for a worker"),
    (_SEVERED, "lost its connection to another worker"),
)
"""Messages of torch (DataLoader, gloo, NCCL), and what they say of a training."""
_OUTAGE_SECONDS = 10.0
_CROWD_SECONDS = 60.0
"""For others to go, before a training that ran out of memory beside them is started again."""
_FULL_SECONDS = 60.0
"""For somebody to make room on a disk, or a file server to come back."""

_OUT_OF_MEMORY = (
    "OutOfMemoryError",  # torch's, and Ray's when it kills a process to save the node
    "CUDA out of memory",
    "CUDA error: out of memory",
    "'out of memory'",  # NCCL's: Cuda failure 2 'out of memory'
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "DefaultCPUAllocator: can't allocate",
    "MemoryError",
    "low on memory",
)
_TELLING = ("CUDA error:", "Memory on the node")
"""In the line that says what happened, where others follow it: advice, the node's processes."""
LOWER = (
    "lower train.micro_batch_size, data.crop or train.batch_size, or set model.activation_checkpointing=true; "
    "in validation, lower train.eval_batch_size or set evaluation.window"
)
"""What helps a setting that finds too little memory."""


@dataclass(frozen=True)
class Interruption:
    """Reason why a training was interrupted from outside.

    Attributes:
        what: the reason in a few words.
        counts: whether it counts towards `RESTARTS`, as the training may have caused it.
        no_room: whether the cluster had no room for it.
        pause: seconds to wait before the restart.
        reason: of the trial's failure, when it is not restarted any more.
    """

    what: str
    counts: bool
    no_room: bool = False
    pause: float = 0.0
    reason: str = "lost"


def interruption(error: BaseException, workers: int = 1, shared: bool = False) -> Interruption | None:
    """Tell what interrupted a training that failed; None if the training itself raised it.

    Args:
        error: it failed with.
        workers: of the training.
        shared: whether trainings share a GPU.
    """
    causes = list(causes_of(error))
    kinds = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    others, who = _crowd(causes, kinds, workers, shared)
    if others:
        what = f"ran out of memory while {who} held {others:.1f} GiB of it"
        reason = "environment" if who == PROGRAMS else "lost"
        return Interruption(what, counts=True, pause=_CROWD_SECONDS, reason=reason)
    if kinds & _PREEMPTED or any(getattr(cause, "preempted", False) for cause in causes):
        return Interruption("its machine is being taken away", counts=False)
    if any(sign in str(cause) for cause in causes for sign in OUTAGES):
        return Interruption("cannot reach the storage", counts=False, pause=_OUTAGE_SECONDS)
    if any(isinstance(cause, LostError) for cause in causes):
        return Interruption("cannot reach its data", counts=True, pause=_OUTAGE_SECONDS, reason="environment")
    if told := next(filter(None, map(failing, causes)), ""):
        what = f"cannot read or write its files ({told})"
        return Interruption(what, counts=True, pause=_FULL_SECONDS, reason="environment")
    if kinds & _NO_ROOM:
        return Interruption("finds no room on the cluster", counts=False, no_room=True)
    if kinds & _LOST:
        return Interruption("lost a process or a machine", counts=True)
    for signs, what in _SIGNS:
        if any(sign in str(cause) for cause in causes for sign in signs):
            return Interruption(what, counts=True)
    return None


class Restarts:
    """Counter of a training's restarts."""

    def __init__(self) -> None:
        self._losses, self._epochs = 0, -1

    def allow(self, why: Interruption, epochs: int) -> bool:
        """Decide whether an interrupted training is restarted.

        Args:
            why: the interruption.
            epochs: epochs done.
        """
        if epochs > self._epochs:
            self._losses, self._epochs = 0, epochs
        self._losses += why.counts
        return self._losses <= RESTARTS


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception and its causes, each once, innermost last; also if the chain of causes is cyclic."""
    seen: set[int] = set()
    pending = [error]
    while pending:
        cause = pending.pop()
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        pending += reversed([inner for inner in _inner(cause) if isinstance(inner, BaseException)])


def _inner(error: BaseException) -> list[Any]:
    """Return the exceptions that an exception names as its causes: in Ray's attributes, then in Python's."""
    failures = getattr(error, "worker_failures", None)
    names = ("controller_failure", "health_check_failure", "_base_exc", "cause", "__cause__")
    return [*(failures.values() if isinstance(failures, dict) else ()), *(getattr(error, name, None) for name in names)]


def classify(error: BaseException, workers: int = 1, shared: bool = False) -> Outcome:
    """Convert an exception of a training to the trial's outcome.

    A `UserError` is `refused` here; the driver, which knows the search space, tells a setting from its surroundings.
    Out of memory beside others is an error, see `interruption`; alone, the setting cannot work.

    Args:
        error: the exception.
        workers: of the training.
        shared: whether trainings share a GPU.
    """
    causes = list(causes_of(error))
    kinds = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    text = "\n".join(str(cause) for cause in causes)
    line = _telling_line(causes[-1])
    if _crowd(causes, kinds, workers, shared)[0]:
        return Outcome(State.FAILED, "error", line)
    if _out_of_memory(kinds, text):
        return Outcome(State.INFEASIBLE, "memory", f"{line}; {LOWER}")
    if "NonFiniteLoss" in kinds or "NonFiniteLoss" in text:
        return Outcome(State.FAILED, "nan", line)
    if any(isinstance(cause, UserError) for cause in causes):
        return Outcome(State.INFEASIBLE, "refused", line)
    return Outcome(State.FAILED, "error", line)


def _out_of_memory(kinds: set[str], text: str) -> bool:
    return any(sign in kinds or sign in text for sign in _OUT_OF_MEMORY)


def _crowd(causes: list[BaseException], kinds: set[str], workers: int, shared: bool) -> tuple[float, str]:
    """Return GiB that others held when the training ran out of memory, and who; 0 if none, or if it did not."""
    text = "\n".join(str(cause) for cause in causes)
    return held_by_others(text, workers, shared) if _out_of_memory(kinds, text) else (0.0, "")


def _telling_line(error: BaseException) -> str:
    """Return the line of a message that says what happened: the last one, but see `_TELLING`."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if any(sign in line for sign in _TELLING)] or lines[-1:]
    return f"{type(error).__name__}: {telling[0]}" if telling else type(error).__name__
