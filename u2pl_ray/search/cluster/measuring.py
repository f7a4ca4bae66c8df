"""Where a training is measured before it is paid for: on this machine, or on a node of the cluster."""

import math
import os
from collections.abc import Callable
from typing import Any

from u2pl_ray.config.schema import Config
from u2pl_ray.train.launch import worker_resources
from u2pl_ray.train.measurement import Measurement, NotMeasured, measure_training

_ROOM_SECONDS = 30.0
"""Seconds to wait for a free worker of the cluster."""
_ANSWER_SECONDS = 300.0
_MOST_PROCESSES = 16
"""Measuring processes at once."""


def measure(config: Config, gpu: bool, concurrent: int, tell: Callable[[str], None]) -> Measurement:
    """Measure a training where the search would train it.

    On this machine, where RAY_ADDRESS names no cluster: on CPU as many trainings at once as the search would run. Else
    one worker with its share of the batch, as a Ray actor with a worker's resources, on whatever node has room.

    Args:
        config: resolved.
        gpu: whether workers get GPUs.
        concurrent: trials at once.
        tell: called with a line when something begins.

    Raises:
        NotMeasured: it failed, found no memory, took too long, or the cluster has no room now.
    """
    if os.environ.get("RAY_ADDRESS", "local") in ("", "local"):
        copies = 1 if gpu else max(1, min(concurrent, _MOST_PROCESSES // config.most_workers))
        return measure_training(config, gpu, copies, tell)
    tell("one worker, on a node of the cluster; up to six minutes")
    return _measure_there(config, gpu)


class _Measurer:
    """Actor that measures on its node."""

    def ready(self) -> None:
        """Return when the actor has its place."""

    def measure(self, config: dict[str, Any], gpu: bool) -> Measurement | str:
        """Return the measurement, or why there is none, a leading `!` meaning memory."""
        try:
            return measure_training(Config.model_validate(config), gpu, single=True)
        except NotMeasured as error:
            return f"{'!' * error.memory}{error}"


def _measure_there(config: Config, gpu: bool) -> Measurement:
    import ray

    resources = worker_resources(config, gpu)
    gpus = math.ceil(resources.get("GPU", 0.0))  # a GPU of its own: what others hold of one would be counted
    actor = ray.remote(_Measurer).options(num_cpus=resources["CPU"], num_gpus=gpus).remote()
    try:
        try:
            ray.get(actor.ready.remote(), timeout=_ROOM_SECONDS)
        except ray.exceptions.GetTimeoutError:
            need = " + ".join(f"{amount:g} {name}" for name, amount in resources.items())
            raise NotMeasured(
                f"no node of the cluster has {need} free now (waited {_ROOM_SECONDS:.0f} s); try again when it has"
            ) from None
        found = ray.get(actor.measure.remote(config.model_dump(mode="json"), gpu), timeout=_ANSWER_SECONDS)
    except ray.exceptions.RayError as error:
        raise NotMeasured(f"the measuring actor failed: {(str(error).strip().splitlines() or ['?'])[0]}") from None
    finally:
        ray.kill(actor)
    if isinstance(found, str):
        raise NotMeasured(found.removeprefix("!"), memory=found.startswith("!"))
    return found
