"""A trial: the function Ray Tune runs. It trains the configuration it is given and tells the driver how that ended."""

import importlib
import threading
import uuid
from collections.abc import Iterator
from typing import Any

from u2pl_ray.config import metrics as names
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver import Outcome
from u2pl_ray.search.records import State
from u2pl_ray.search.scheduler import OUTCOME, REPORT
from u2pl_ray.train.mending import mend

_OUT_OF_MEMORY = (
    "OutOfMemoryError",  # torch's, and Ray's when it kills a process to save the node
    "CUDA out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "DefaultCPUAllocator: can't allocate",
    "MemoryError",
    "low on memory",
)


def run_trial(config: dict[str, Any], mailbox: Any, storage_path: str, trainer: str) -> None:
    """Train one trial; reports go to Tune one by one, the outcome last.

    Args:
        config: from `StudySearcher`: trial (its id), config (JSON), reported_epochs.
        mailbox: the search's mailbox.
        storage_path: `trials/` of the experiment; the training's run is `<trial>/train` below it.
        trainer: `module:function` with the arguments of `u2pl_ray.train.launch.build_trainer`.
    """
    from ray import get, tune

    from u2pl_ray.search.mailbox import END, ReportCallback, say
    from u2pl_ray.search.reclaim import claim_in_controllers

    trial = config["trial"]
    claim_in_controllers(mailbox, trial)
    box = f"{trial}/{uuid.uuid4().hex}"
    outcomes: list[Outcome] = []

    def train() -> None:
        try:
            for line in mend(f"{storage_path}/{trial}/train"):
                say(line)
            build = load_callable(trainer)
            build(
                config=Config.model_validate_json(config["config"]),
                storage_path=f"{storage_path}/{trial}",
                name="train",
                callbacks=[ReportCallback(mailbox, box, f"/{trial}")],
                reported_epochs=config["reported_epochs"],
            ).fit()
            outcomes.append(Outcome(State.COMPLETED))
        except Exception as error:
            outcomes.append(classify(error))
        finally:
            get(mailbox.put.remote(box, END))

    # Beside this thread, so that each report waits for the scheduler's decision in the order of arrival.
    worker = threading.Thread(target=train, daemon=True)
    worker.start()
    epoch = config["reported_epochs"]
    while (report := get(mailbox.take.remote(box))) is not END:
        epoch = report[names.EPOCH]
        tune.report({names.EPOCH: epoch, REPORT: [report]})
    worker.join()
    outcome = outcomes[0]
    tune.report({names.EPOCH: epoch, OUTCOME: [outcome.state.value, outcome.reason, outcome.detail]})


def load_callable(path: str) -> Any:
    """The function named by `module:function`."""
    module, _, function = path.partition(":")
    return getattr(importlib.import_module(module), function)


def classify(error: BaseException) -> Outcome:
    """What an exception out of a training means for the search."""
    causes = list(_causes(error))
    kinds = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    text = "\n".join(str(cause) for cause in causes)
    line = _last_line(causes[-1])
    if any(sign in kinds or sign in text for sign in _OUT_OF_MEMORY):
        return Outcome(State.INFEASIBLE, "memory", line)
    if "NonFiniteLoss" in kinds or "NonFiniteLoss" in text:
        return Outcome(State.FAILED, "nan", line)
    if any(isinstance(cause, UserError) for cause in causes):
        return Outcome(State.INFEASIBLE, "refused", line)
    return Outcome(State.FAILED, "error", line)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and those it stands for, innermost last."""
    yield error
    inner = [*getattr(error, "worker_failures", {}).values()]
    inner += [getattr(error, name, None) for name in ("controller_failure", "_base_exc", "cause", "__cause__")]
    for cause in inner:
        if isinstance(cause, BaseException) and cause is not error:
            yield from _causes(cause)


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1].strip()}" if lines else type(error).__name__
