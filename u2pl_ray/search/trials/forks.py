"""The files of population-based training: the checkpoints that are kept for forks, and the start of a fork.

`trials/<id>/kept/epoch_<n>/` is a trial's checkpoint for later forks, `trials/<id>/start/` a fork's own copy of its
parent's. Copies are hard links where the file system has them, so that they need space only once the original is gone.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from u2pl_ray.config import metrics as names
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.samplers.registry import trial_seed
from u2pl_ray.search.schedulers.population import PopulationPruner, perturb
from u2pl_ray.search.storage import layout
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.study.trial_record import Fork, State, TrialRecord, trial_id
from u2pl_ray.search.trials.copies import link_folder
from u2pl_ray.search.trials.epoch_log import EpochLog, portable, read_epochs

_ATTEMPTS = 20


class Forks:
    """Replacement of trials that population-based training ended; without effect under another scheduler.

    Args:
        study: the trials.
        base: configuration the trials start from.
        population: number of trials that start from scratch.
        folder: `trials/` of the experiment.
    """

    def __init__(self, study: TrialStudy, base: Config, population: int, folder: Path) -> None:
        self.study, self.base, self.population, self.folder = study, base, population, folder
        self.pruner = study.pruner if isinstance(study.pruner, PopulationPruner) else None

    def keep(self, record: TrialRecord, metrics: Mapping[str, Any]) -> None:
        """Keep this epoch's checkpoint if the trial may be copied; delete kept ones of trials that may not any more.

        Args:
            record: the trial.
            metrics: of its latest epoch, with the checkpoint's folder.
        """
        epoch, checkpoint = metrics[names.EPOCH], metrics.get("checkpoint")
        if self.pruner is None or not checkpoint or not self.pruner.decides(epoch):
            return
        leaders = self.pruner.leaders(self.study.competing, epoch, self.population)
        if record.number in leaders:
            link_folder(self.folder / record.id / checkpoint, self._kept(record.number, epoch))
        for number in self.pruner.ranking(self.study.competing, epoch)[len(leaders) :]:
            shutil.rmtree(self._kept(number, epoch), ignore_errors=True)  # ranks only get worse

    def due(self) -> list[tuple[TrialRecord, list[int]]]:
        """Return the ended trials that were not replaced yet, each with the numbers of trials that can be copied."""
        if self.pruner is None:
            return []
        records = self.study.records()
        replaced = {record.fork.replaces for record in records if record.fork is not None}
        result = []
        for record in records:
            if record.state == State.STOPPED and record.number not in replaced:
                leaders = self.pruner.leaders(self.study.competing, record.epochs)
                able = [number for number in leaders if self._kept(number, record.epochs).exists()]
                if able:
                    result.append((record, able))
        return result

    def start(self) -> TrialRecord | None:
        """Add the next fork to the study; return None if no replacement is due."""
        for ended, parents in self.due():
            seed = trial_seed(self.study.sampler.seed, ended.number)
            parent = parents[seed % len(parents)]
            return self.study.start_fork(Fork(parent, ended.epochs, ended.number), self._settings(parent, seed))
        return None

    def prepare(self, record: TrialRecord, log: EpochLog) -> None:
        """Copy the parent's checkpoint and its epochs up to then for a fork.

        Args:
            record: the fork.
            log: the fork's epoch log.

        Raises:
            UserError: the parent's checkpoint is gone.
        """
        if record.fork is None:
            return
        start = self.folder / record.id / layout.START
        if not start.exists():
            kept = self._kept(record.fork.parent, record.fork.epoch)
            if not kept.exists():
                raise UserError(f"{kept}: is gone, which was to be copied")
            link_folder(kept, start)
        parent = self.folder / trial_id(record.fork.parent) / layout.EPOCHS
        for metrics in read_epochs(parent)[: record.fork.epoch]:
            log.append(portable(metrics))

    def clean(self, record: TrialRecord) -> None:
        """Delete a finished trial's copy of the checkpoint that it went on from."""
        shutil.rmtree(self.folder / record.id / layout.START, ignore_errors=True)

    def _settings(self, parent: int, seed: int) -> dict[str, Any]:
        """Return the parent's settings, perturbed so that they are valid; unchanged if no attempt gives valid ones."""
        assert self.pruner is not None
        space = self.study.space
        own = space.encode(self.study.record(parent).params)
        for attempt in range(_ATTEMPTS):
            moved = perturb(own, space.distributions, self.pruner.perturbation, seed + attempt)
            moved = {path: space.parameters[path].snap(value) for path, value in moved.items()}
            try:
                space.configure(self.base, space.decode(moved))
            except UserError:
                continue
            return moved
        return own

    def _kept(self, number: int, epoch: int) -> Path:
        return self.folder / trial_id(number) / layout.KEPT / f"epoch_{epoch:05d}"
