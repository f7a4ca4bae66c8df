"""Whole optimizer steps of the real worker while CUDA raises an error at every synchronisation."""

from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.gpu.report import Context, Report
from u2pl_ray.config.overrides import load
from u2pl_ray.data.registry import resolve
from u2pl_ray.train.loop import Worker
from u2pl_ray.train.session import LocalSession

CASES = {
    "u2pl, float32": [],
    "u2pl, bfloat16, channels_last": ["train.amp=bf16", "train.channels_last=true"],
    "u2pl, classmix, all keys, bfloat16 bank": [
        "method.mixing.kind=classmix",
        "method.memory_bank.push_cap=null",
        "method.memory_bank.key_dtype=bfloat16",
    ],
    "pseudo_label": ["method.name=pseudo_label"],
    "supervised, OHEM": ["method.name=supervised", "method.supervised_loss=ohem", "method.ohem.min_kept=500"],
}
TRAINING = [
    "workers=1",
    "tracking.images=0",
    "data.crop=32",
    "train.epochs=2",
    "train.steps_per_epoch=3",
    "train.batch_size=2",
    "train.unlabeled_batch_size=4",
    "method.warmup_epochs=1",
    "data.synthetic.unlabeled=16",
    "data.synthetic.val=1",
    "data.synthetic.test=1",
]


class Watched:
    """A training's batches; while the worker works on one, a synchronisation of the device is an error.

    The first step of each epoch may wait: it loads kernels. So may loading a batch, in the loader's own thread.
    """

    def __init__(self, batches: Any, device: torch.device) -> None:
        self._batches, self._device = batches, device
        self.steps = batches.steps
        self.watched = 0

    def epoch(self, epoch: int, **options: Any) -> Iterator[Any]:
        """See `TrainingBatches.epoch`."""
        for index, batch in enumerate(self._batches.epoch(epoch, **options)):
            if self._device.type == "cuda" and index:
                self.watched += 1
                torch.cuda.set_sync_debug_mode("error")
            yield batch
            if self._device.type == "cuda":
                torch.cuda.set_sync_debug_mode("default")


def measure(context: Context, report: Report) -> None:
    """Train two short epochs of each case: a supervised one and one of the method."""
    failures = []
    fewer = ["train.steps_per_epoch=1"] if context.miniature else []  # the CPU cannot tell anyway
    for name, settings in CASES.items():
        worker = Worker(resolve(load("quickstart", [*TRAINING, *fewer, *settings])), LocalSession(), context.device)
        batches: Any = Watched(worker.train_data, context.device)
        worker.train_data = batches
        said = "none" if context.device.type == "cuda" else "unknown: only CUDA can tell"
        try:
            worker.run()
        except RuntimeError as error:
            if "synchroniz" not in str(error):
                raise
            failures.append(name)
            said = f"yes: {_where(error)}"
        finally:
            if context.device.type == "cuda":
                torch.cuda.set_sync_debug_mode("default")
        report.add(name, steps_watched=batches.watched, synchronisations=said)
    if failures:
        raise RuntimeError(f"the device was waited for: {'; '.join(failures)}")


def _where(error: BaseException) -> str:
    """The innermost line of our package that an error came through."""
    found, trace = "outside u2pl_ray", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if "u2pl_ray/" in file:
            found = f"u2pl_ray/{file.rpartition('u2pl_ray/')[2]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found
