"""Events of a search and who receives them: console, W&B. A listener never changes or ends a search."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from u2pl_ray.config.schema import Config
from u2pl_ray.search.study.outage import outage
from u2pl_ray.search.study.trial_record import TrialRecord

logger = logging.getLogger(__name__)


class Listener:
    """Receiver of a search's events; every method does nothing by default."""

    def trial_started(self, trial: TrialRecord, config: Config) -> None:
        """Handle the start of a trial on the cluster.

        Args:
            trial: `trial.epochs` is above 0 if it continues.
            config: its whole configuration.
        """

    def epoch_known(self, trial: TrialRecord, metrics: Mapping[str, Any]) -> None:
        """Handle an epoch that an earlier session recorded, of a trial that continues.

        Args:
            trial: the trial.
            metrics: of that epoch.
        """

    def epoch_done(self, trial: TrialRecord, metrics: Mapping[str, Any], best: TrialRecord | None) -> None:
        """Handle an epoch that a trial reported.

        Args:
            trial: the trial, with this epoch.
            metrics: of this epoch.
            best: the best trial of the search so far, if any.
        """

    def trial_finished(self, trial: TrialRecord) -> None:
        """Handle the end of a trial, in one of the finished states."""

    def note(self, text: str) -> None:
        """Handle a line of text for the user."""

    def close(self) -> None:
        """Handle the end or the interruption of the search."""


class Listeners(Listener):
    """Dispatcher of every event to each listener; an exception in one is reported once and ignored.

    Args:
        listeners: called in this order.
    """

    def __init__(self, listeners: Sequence[Listener] = ()) -> None:
        self._listeners = list(listeners)
        self._complained: set[int] = set()

    def add(self, listener: Listener) -> None:
        """Add a listener, which receives all later events."""
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
            except Exception as error:
                if id(listener) not in self._complained:
                    self._complained.add(id(listener))
                    line, name = "%s failed; the search goes on (%s)", type(listener).__name__
                    logger.error(line, name, outage(error) or error, exc_info=not outage(error))
