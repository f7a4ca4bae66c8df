"""What follows from the epochs of a trial: they are added to the study, and decide whether it goes on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from u2pl_ray.config import metrics as names
from u2pl_ray.search.driver.configurations import Configurations
from u2pl_ray.search.driver.rounds import Rounds
from u2pl_ray.search.storage import layout
from u2pl_ray.search.study.pareto import measured
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.study.trial_record import PAPER, State, TrialRecord
from u2pl_ray.search.trials.epoch_log import EpochLog
from u2pl_ray.search.trials.forks import Forks
from u2pl_ray.search.trials.warmups import Warmups


class Decisions:
    """Epoch logs of a search's trials, and the decisions after each epoch.

    Args:
        study: the trials.
        configurations: of the trials.
        folder: `trials/` of the experiment.
        rounds: replicates of the leaders.
        forks: keeps checkpoints for trials that continue others.
        warmups: keeps checkpoints of warm-ups.
    """

    def __init__(
        self,
        study: TrialStudy,
        configurations: Configurations,
        folder: Path,
        rounds: Rounds,
        forks: Forks,
        warmups: Warmups,
    ) -> None:
        self._study, self._configurations, self._folder = study, configurations, folder
        self._rounds, self._forks, self._warmups = rounds, forks, warmups
        self._logs: dict[int, EpochLog] = {}

    def log(self, record: TrialRecord) -> EpochLog:
        """Return a trial's epoch log, which is read once."""
        if record.number not in self._logs:
            self._logs[record.number] = EpochLog(self._folder / record.id / layout.EPOCHS)
        return self._logs[record.number]

    def forget(self, number: int) -> None:
        """Read a trial's epoch log anew when it is next asked for: another driver may have appended epochs."""
        self._logs.pop(number, None)

    def account(self, record: TrialRecord, again: bool = False) -> TrialRecord:
        """Add the epochs that the study lacks, and decide about the trial after each.

        Args:
            record: the trial.
            again: decide about the latest epoch also if the study lacks none.
        """
        rows = self.log(record).epochs
        for metrics in rows:
            unknown = metrics[names.EPOCH] > record.epochs
            if record.state == State.RUNNING and (unknown or (again and metrics[names.EPOCH] == record.epochs)):
                record = self._decide(record, metrics, metrics is rows[-1])
        return record

    def _decide(self, record: TrialRecord, metrics: Mapping[str, Any], latest: bool) -> TrialRecord:
        """Decide after an epoch whether a trial goes on, is complete, is stopped, or has failed; write it to the study.

        Args:
            record: the trial.
            metrics: of the epoch.
            latest: whether it is the last recorded epoch. After an earlier one the trial is not stopped: the next epoch
                shows that it went on.
        """
        study, number, epoch = self._study, record.number, metrics[names.EPOCH]
        config = self._configurations.of(record.settings)
        at_end = epoch >= config.train.epochs
        values, problem = measured(metrics, study.space.objectives if at_end else study.space.objectives[:1])
        if problem is not None:
            study.fail(number, *problem)
        else:
            study.report(number, epoch, values[0])
            if at_end:
                study.complete(number, values[1:])
            elif latest and not self._never_stopped(record) and study.should_stop(number):
                study.stop(number)
            else:
                self._forks.keep(record, metrics)
                self._warmups.keep(record, config, metrics, self.log(record))
        return study.record(number)

    def _never_stopped(self, record: TrialRecord) -> bool:
        """Tell whether no scheduler may stop it: others are compared with it on new seeds, at full length."""
        return record.note == PAPER and self._rounds.allowance.limited
