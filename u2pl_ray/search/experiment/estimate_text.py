"""Say in lines what was measured of a training, what the search will take, and where memory is too small."""

from collections.abc import Sequence
from datetime import timedelta

from u2pl_ray.config.schema import Config
from u2pl_ray.search.cluster.capacity import TRIAL_MEMORY
from u2pl_ray.search.experiment.estimate import Estimate, epoch_seconds
from u2pl_ray.search.experiment.plan import Plan
from u2pl_ray.search.listeners.formatting import duration, few, many
from u2pl_ray.train.footprint import bank_bytes
from u2pl_ray.train.measurement import Measurement

_GIB = 2**30
_LARGE_BANK = 0.2
"""Share of the memory from which a smaller memory bank is proposed."""


def training_lines(config: Config, measured: Measurement) -> list[tuple[str, str]]:
    """Return what one worker and one training take, as name and text.

    Args:
        config: of the training.
        measured: of it.
    """
    where = "" if measured.gpu is None else f" and {_size(measured.host)} of the machine's"
    allocated = "" if measured.allocated is None else f" ({_size(measured.allocated)} in tensors)"
    memory = (
        f"{_size(measured.memory)} a worker{allocated} of {_size(measured.memory_total)} ({measured.device}){where}"
    )
    epochs, warmup = config.train.epochs, config.method.warmup_epochs
    kinds = [
        *([f"{measured.warmup_step:.2g} s on labeled images alone"] if measured.warmup else []),
        *([f"{measured.main_step:.2g} s with unlabeled images{_full(config)}"] if measured.main else []),
    ]
    seconds = measured.startup + sum(epoch_seconds(config, measured))
    of = f", {warmup} of them warm-up" if measured.warmup and measured.main else ""
    training = (
        f"{_time(seconds)}: {_time(measured.startup)} to start, {many(epochs, 'epoch')}{of} of "
        f"{many(measured.steps, 'step')}, after each {measured.validation + measured.images:.2g} s of validation and "
        f"{2 * measured.checkpoint:.2g} s for the checkpoint"
    )
    counts = " and ".join(str(len(times)) for times in (measured.warmup, measured.main) if times)
    caveats = [
        f"{counts} steps, half of them within ± {measured.spread:.0%}",
        *([f"{measured.validated:.0%} of the validation"] if measured.validated < 0.999 else []),
        *([f"{measured.copies} trainings at once"] if measured.copies > 1 else []),
        *(
            [f"one worker of {config.most_workers}, which did not have to wait for the others"]
            if measured.workers < config.most_workers
            else []
        ),
        *(
            ["alone on its GPU: sharing it takes longer"]
            if measured.gpu is not None and config.resources.gpus_per_worker < 1
            else []
        ),
    ]
    return [
        ("memory", memory),
        ("a step", ", ".join(kinds)),
        ("a training", training),
        ("measured", "; ".join(caveats)),
    ]


def search_lines(plan: Plan, found: Estimate, price: float | None) -> list[tuple[str, str]]:
    """Return what the search takes, as name and text.

    Args:
        plan: of the search.
        found: its estimate.
        price: of a GPU for an hour, in any currency; None: not asked for.
    """
    epochs, scheduler = plan.config.train.epochs, plan.options.scheduler.name
    unit = "GPU-hours" if plan.fit.gpu else "worker-hours"
    saved = f", as {scheduler} stops some early" if found.epochs < epochs - 0.05 else ""
    lines = [("a trial", f"trains {found.epochs:.3g} of {epochs} epochs on average{saved}")]
    if found.device_hours is None or found.hours is None:
        return [*lines, ("the search", "has no limit but its patience: how long it takes is not known")]
    what = "trials" if found.trials is None else many(found.trials, "trial")
    baselines = len(plan.options.baselines)
    counts = (baselines, "baseline"), (found.repeats - baselines, "replicate")
    beside = "".join(f", {many(count, kind)}" for count, kind in counts if count)
    until = f", ended by {found.ended}" if found.ended else ""
    at_once = many(plan.fit.concurrent, "trial")
    text = (
        f"{found.device_hours:.3g} {unit} in {_time(3600 * found.hours)} with {at_once} at once: {what}{beside}{until}"
    )
    lines.append(("the search", text))
    if price is not None:
        lines.append(("money", f"{found.device_hours * price:.4g} at {price:g} a GPU-hour"))
    return lines


def largest_line(first: Measurement, largest: Measurement, changes: Sequence[str]) -> tuple[str, str]:
    """Return what the largest settings take more, as name and text.

    Args:
        first: the first trial's measurement.
        largest: with the largest settings.
        changes: these settings, as text.
    """
    slower = largest.main_step / first.main_step
    return "largest", f"{_size(largest.memory)} a worker and {slower:.2g} times the time a step with {few(changes)}"


def shortage(config: Config, measured: Measurement, concurrent: int) -> str:
    """Say where memory is too small and what to lower; an empty string if it suffices.

    Args:
        config: of the training.
        measured: of it.
        concurrent: trainings at once on one machine; on GPUs, where every worker has its own, it does not matter.
    """
    if measured.gpu is not None and measured.gpu_total is not None:
        sharing = max(1, int(1 / config.resources.gpus_per_worker + 1e-9))
        need, have, who = sharing * measured.gpu, measured.gpu_total, many(sharing, "worker")
        where = "the GPU has"
    else:
        workers = concurrent * config.most_workers
        need, have = workers * measured.host + concurrent * TRIAL_MEMORY, measured.host_total
        where, who = "the machine has", f"{many(workers, 'worker')} at once, and the trials' own processes,"
    if need <= have:
        return ""
    takes = "takes" if who == "1 worker" else "take"
    return f"{who} {takes} {_size(need)} of memory and {where} {_size(have)}: {remedies(config, measured)}"


def remedies(config: Config, measured: Measurement | None = None) -> str:
    """Name settings that make a worker smaller, the cheapest for the result first.

    Args:
        config: of the training.
        measured: of it, if there is one.
    """
    share = -(-(config.train.batch_size + config.train.unlabeled_batch_size) // config.most_workers)
    parts = config.train.micro_batch_size or share
    keys = bank_bytes(config) if config.data.classes else 0
    bank = config.method.contrasts and (measured is None or keys > _LARGE_BANK * measured.memory)
    on_cpu = measured is not None and measured.gpu is None
    ways = [
        *([f"train.micro_batch_size={max(1, parts // 2)}"] if parts > 1 else []),
        *(["train.amp=bf16"] if not on_cpu and config.train.amp == "none" else []),
        *([f"a smaller method.memory_bank.capacity ({config.method.memory_bank.capacity})"] if bank else []),
        f"a smaller data.crop ({config.data.crop}) or train.batch_size and train.unlabeled_batch_size",
        *(["fewer trials at once (--max-concurrent)"] if on_cpu else []),
    ]
    return f"try {', '.join(ways)}"


def _full(config: Config) -> str:
    return " and a full memory bank" if config.method.contrasts else ""


def _size(count: float) -> str:
    return f"{count / _GIB:.3g} GiB"


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else duration(timedelta(seconds=seconds))
