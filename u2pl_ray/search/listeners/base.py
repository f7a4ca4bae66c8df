"""What happens in a search, for whoever watches: the console, W&B. Watching never changes or ends a search."""

import logging
from collections.abc import Mapping, Sequence
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


class Listeners:
    """Passes every event to each listener; one that raises is reported and does no harm."""

    def __init__(self, listeners: Sequence[Listener] = ()) -> None:
        self._listeners = list(listeners)
        self._complained: set[int] = set()

    def listen(self, listener: Listener) -> None:
        """Add a listener."""
        self._listeners.append(listener)

    def tell(self, event: str, *arguments: Any) -> None:
        """Call the method named `event` of every listener."""
        for listener in self._listeners:
            try:
                getattr(listener, event)(*arguments)
            except Exception:
                if id(listener) not in self._complained:
                    self._complained.add(id(listener))
                    logger.exception("%s failed in %s; the search goes on", type(listener).__name__, event)
