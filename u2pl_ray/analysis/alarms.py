"""Say at once when a training's diagnostics show that it teaches nothing, or forgets a class."""

from collections.abc import Callable, Mapping
from typing import Any

from u2pl_ray.analysis.rules import RULES, Trial
from u2pl_ray.config.schema import Config
from u2pl_ray.search.listeners.base import Listener
from u2pl_ray.search.study.trial_record import TrialRecord


class AlarmListener(Listener):
    """Listener that reports a finding of a kind when the first trial has it; `status` and the report have them all.

    Args:
        say: called with a line for the user.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._trials: dict[str, tuple[Config, list[Mapping[str, Any]]]] = {}
        self._said: set[str] = set()

    def trial_started(self, trial: TrialRecord, config: Config) -> None:
        """Note the trial's configuration; epochs that are known already were told before."""
        self._trials[trial.id] = config, self._trials.get(trial.id, (config, []))[1]

    def epoch_known(self, trial: TrialRecord, metrics: Mapping[str, Any]) -> None:
        """Take in an epoch of an earlier session, which said what there was to say."""
        if trial.id in self._trials:
            self._trials[trial.id][1].append(metrics)

    def epoch_done(self, trial: TrialRecord, metrics: Mapping[str, Any], best: TrialRecord | None) -> None:
        """Apply the rules that are worth an interruption to the trial as far as it has come."""
        if trial.id not in self._trials:
            return
        config, epochs = self._trials[trial.id]
        epochs.append(metrics)
        seen = Trial(trial.id, config, epochs, config.data.classes)
        for rule, about in RULES.items():
            if about.at_once and about.kind not in self._said and (found := rule(seen)) is not None:
                self._said.add(about.kind)
                self._say(f"{trial.id}: {about.title}: {found.text}")

    def trial_finished(self, trial: TrialRecord) -> None:
        """Forget the trial."""
        self._trials.pop(trial.id, None)
