"""The warm-up, trained once: until it ends, trials of one seed that differ in later settings alone are one training.

The first one to end it leaves its checkpoint and its epochs in `warmups/<key>/` of the experiment. Every later trial
with the same key goes on from there, bit for bit as if it had trained the warm-up itself.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution

from u2pl_ray.config import metrics as names
from u2pl_ray.config.schema import Config
from u2pl_ray.search.storage import layout
from u2pl_ray.search.study.trial_record import TrialRecord
from u2pl_ray.search.trials.copies import link_folder
from u2pl_ray.search.trials.epoch_log import EpochLog, portable, read_epochs
from u2pl_ray.system.atomic import whole_folder, write_whole

_LATER = (
    *("unsupervised_weight", "unsupervised_rampup", "teacher_momentum", "teacher_horizon"),
    *("alpha", "mixing", "memory_bank", "contrastive", "reliability", "balance", "strong_view"),
)
"""Settings of the method that say nothing before the warm-up ends (tests/train/test_warmup.py trains each)."""


def warmup_key(config: Config) -> str:
    """Return a name that is the same for trials with the same warm-up, and differs for others; empty without one."""
    method = config.method
    if not method.semi_supervised or not 0 < method.warmup_epochs < config.train.epochs:
        return ""
    tree = config.model_dump(mode="json", exclude={"tracking": True, "data": {"stage"}})
    tree["method"] = {name: value for name, value in tree["method"].items() if name not in _LATER}
    tree["method"]["contrasts"] = method.contrasts  # with it the network has another head
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:16]


def one_warmup(config: Config, searched: Iterable[str]) -> bool:
    """Tell whether all trials of a search have the same warm-up.

    Args:
        config: the trials start from.
        searched: dotted paths of what differs between them.
    """
    return bool(warmup_key(config)) and not _earlier(searched)


def few_warmups(distributions: Mapping[str, BaseDistribution]) -> bool:
    """Tell whether trials share warm-ups: else each would keep a checkpoint of its own that no other can use.

    Args:
        distributions: what is searched, by dotted path.
    """
    return all(
        isinstance(distributions[path], CategoricalDistribution) or distributions[path].single()
        for path in _earlier(distributions)
    )


def _earlier(searched: Iterable[str]) -> list[str]:
    """Return the dotted paths of what changes a warm-up."""
    later = {f"method.{name}" for name in _LATER}
    return [path for path in searched if ".".join(path.split(".")[:2]) not in later]


class Warmups:
    """Warm-ups of an experiment's trials.

    Args:
        folder: `trials/` of the experiment. On an object store, where checkpoints are in no folder, nothing is shared.
        share: whether to share at all.
    """

    def __init__(self, folder: Path, share: bool = True) -> None:
        self._trials, self._share = folder, share

    def keep(self, record: TrialRecord, config: Config, metrics: Mapping[str, Any], log: EpochLog) -> None:
        """Keep checkpoint and epochs of a trial that has just ended its warm-up, unless another one has.

        Args:
            record: the trial.
            config: its configuration.
            metrics: of its latest epoch, with the checkpoint's folder.
            log: its epochs.
        """
        checkpoint = metrics.get("checkpoint")
        key = warmup_key(config) if self._share and metrics[names.EPOCH] == config.method.warmup_epochs else ""
        source = self._trials / record.id / str(checkpoint)
        if not key or not checkpoint or not source.exists() or self._kept(key).exists():
            return
        rows = log.epochs[: config.method.warmup_epochs]
        plain = [portable(row) for row in rows]
        with whole_folder(self._kept(key)) as partial:
            link_folder(source, partial / layout.START)
            write_whole(partial / layout.EPOCHS, "".join(f"{json.dumps(row)}\n" for row in plain))

    def prepare(self, record: TrialRecord, config: Config, log: EpochLog) -> int:
        """Let a trial that has not begun go on from a kept warm-up; return how many epochs it need not train.

        Args:
            record: the trial.
            config: its configuration.
            log: its epochs; those of the warm-up are added.
        """
        own = self._trials / record.id
        start = own / layout.START
        key = warmup_key(config) if self._share and record.fork is None else ""
        if not key or not self._kept(key).exists():
            return 0
        if not start.exists():
            if log.epochs or (own / layout.RUN).exists():
                return 0
            link_folder(self._kept(key) / layout.START, start)
        for row in read_epochs(self._kept(key) / layout.EPOCHS):
            log.append(row)
        return config.method.warmup_epochs

    def _kept(self, key: str) -> Path:
        return self._trials.parent / layout.WARMUPS / key
