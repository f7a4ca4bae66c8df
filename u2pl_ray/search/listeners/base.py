"""What happens in a search, for whoever watches: the console, W&B. Watching never changes or ends a search."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from u2pl_ray.config.schema import Config
from u2pl_ray.search.study.trial_record import TrialRecord

logger = logging.getLogger(__name__)


class Listener:
    """Told of every event; the defaults do nothing."""

    def trial_started(self, trial: TrialRecord, config: Config) -> None:
        """A trial was handed to the cluster; `trial.epochs` is above 0 if it continues."""

    def epoch_known(self, trial: TrialRecord, metrics: Mapping[str, Any]) -> None:
        """An epoch that an earlier session recorded, of a trial that continues."""

    def epoch_done(self, trial: TrialRecord, metrics: Mapping[str, Any], best: TrialRecord | None) -> None:
        """A trial reported an epoch; `best` is the best trial of the search so far."""

    def trial_finished(self, trial: TrialRecord) -> None:
        """A trial reached one of the finished states."""

    def note(self, text: str) -> None:
        """One line that people should see."""

    def close(self) -> None:
        """The search ended or was interrupted."""


class Listeners(Listener):
    """Passes every event to each listener; one that raises is reported once and does no harm.

    Args:
        listeners: told in this order.
    """

    def __init__(self, listeners: Sequence[Listener] = ()) -> None:
        self._listeners = list(listeners)
        self._complained: set[int] = set()

    def add(self, listener: Listener) -> None:
        """Tell one more listener from now on."""
        self._listeners.append(listener)

    def trial_started(self, trial: TrialRecord, config: Config) -> None:
        """See `Listener`."""
        self._each(lambda listener: listener.trial_started(trial, config))

    def epoch_known(self, trial: TrialRecord, metrics: Mapping[str, Any]) -> None:
        """See `Listener`."""
        self._each(lambda listener: listener.epoch_known(trial, metrics))

    def epoch_done(self, trial: TrialRecord, metrics: Mapping[str, Any], best: TrialRecord | None) -> None:
        """See `Listener`."""
        self._each(lambda listener: listener.epoch_done(trial, metrics, best))

    def trial_finished(self, trial: TrialRecord) -> None:
        """See `Listener`."""
        self._each(lambda listener: listener.trial_finished(trial))

    def note(self, text: str) -> None:
        """See `Listener`."""
        self._each(lambda listener: listener.note(text))

    def close(self) -> None:
        """See `Listener`."""
        self._each(lambda listener: listener.close())

    def _each(self, tell: Callable[[Listener], None]) -> None:
        for listener in self._listeners:
            try:
                tell(listener)
            except Exception:
                if id(listener) not in self._complained:
                    self._complained.add(id(listener))
                    logger.exception("%s failed; the search goes on", type(listener).__name__)
