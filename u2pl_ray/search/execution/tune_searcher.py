"""Ray Tune's searcher, which takes trials from the driver. It raises no exception: one would end the search."""

import logging
from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from u2pl_ray.search.driver.assignment import Outcome
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.execution.interrupts import end_now
from u2pl_ray.search.storage.leased import TakenOverError
from u2pl_ray.search.study.outage import lost
from u2pl_ray.search.study.trial_record import State

logger = logging.getLogger(__name__)


class StudySearcher(Searcher):
    """Tune searcher that returns the driver's trials, at most `slots()` at a time.

    Args:
        driver: decides which trial runs.
        slots: returns how many trials may run at present.
        ended: called with the id of a trial whose process has ended or been given to another trial.
        stopping: returns whether the search is to stop: Tune asks for a trial again and again before it looks.
    """

    def __init__(
        self,
        driver: Driver,
        slots: Callable[[], int],
        ended: Callable[[str], None],
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__()
        self._driver, self._slots, self._ended, self._stopping = driver, slots, ended, stopping
        self._live: dict[str, str] = {}
        self.error: Exception | None = None

    @property
    def live(self) -> list[str]:
        """Return the ids of the trials that were started and have not ended."""
        return list(self._live.values())

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next trial's settings for `TrialRunner`; None while there is none, but one may come."""
        if len(self._live) >= self._slots():
            return None
        try:
            assignment = self._driver.next()
            # Replicates start when all others have ended, those of other drivers too.
            waits = assignment is None and self._driver.may_go_on and bool(self._live or self._waits_for_others())
        except TakenOverError as error:
            end_now(str(error))
        except Exception as error:
            logger.warning("no further trials: the study cannot be read or written", exc_info=not lost(error))
            self.error = error
            return Searcher.FINISHED
        if assignment is None:
            return None if waits else Searcher.FINISHED
        self._live[trial_id] = assignment.trial
        return {
            "trial": assignment.trial,
            "config": assignment.config.model_dump_json(),
            "reported_epochs": assignment.reported_epochs,
            "start": assignment.start,
        }

    def _waits_for_others(self) -> bool:
        return not self._stopping() and self._driver.waits()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Handle the end of a Tune trial; one that reported no outcome has lost its process.

        Args:
            trial_id: Tune's id.
            result: unused.
            error: unused.
        """
        trial = self._live.pop(trial_id, None)
        if trial is None:
            return
        self._ended(trial)
        try:
            self._driver.finish(trial, Outcome(State.FAILED, "lost", "its process died and could not be restarted"))
        except TakenOverError as problem:
            end_now(str(problem))
        except Exception as problem:
            line = "the end of trial %s could not be recorded; resume will take it up again"
            logger.warning(line, trial, exc_info=not lost(problem))
            self.error = problem

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the study is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the study is the state."""
