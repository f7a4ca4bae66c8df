"""Ray Tune's scheduler: pass every report to the driver, and return its decision."""

import logging
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from u2pl_ray.search.driver.assignment import Outcome
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.execution.interrupts import end_now
from u2pl_ray.search.storage.leased import TakenOverError
from u2pl_ray.search.study.outage import lost
from u2pl_ray.search.study.trial_record import State

logger = logging.getLogger(__name__)

REPORT = "report"
"""Key of a Tune result that holds an epoch's metrics, as a list of one (Tune flattens mappings)."""
OUTCOME = "outcome"
"""Key of a Tune result that holds state, reason and detail of a training's end."""

_LATER = "comes again with the next one, or with resume"


class StudyScheduler(FIFOScheduler):
    """Tune scheduler that runs trials in order; the study's pruner stops them. Its hooks raise no exception."""

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self._driver = driver
        self._unheard: dict[str, list[Any]] = {}

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Record an epoch or an end; return whether the trial goes on, as one of Tune's constants.

        What cannot be recorded, as the storage or database is away, comes again with the next result: without it the
        epochs after it would be none that follow.

        Args:
            tune_controller: unused.
            trial: Tune's trial.
            result: an epoch's metrics under `REPORT`, or an end under `OUTCOME`.
        """
        name = trial.config["trial"]
        decision = TrialScheduler.STOP if OUTCOME in result else TrialScheduler.CONTINUE
        reports = [*self._unheard.pop(name, ()), *result.get(REPORT, ())]
        try:
            while reports:
                if self._driver.report(name, reports[0]):
                    decision = TrialScheduler.STOP
                del reports[0]
            if OUTCOME in result:
                state, reason, detail = result[OUTCOME]
                self._driver.finish(name, Outcome(State(state), reason, detail))
        except TakenOverError as error:
            end_now(str(error))
        except Exception as error:
            self._unheard[name] = reports
            if why := lost(error):
                logger.warning("a report of trial %s could not be stored; it %s (%s)", name, _LATER, why)
            else:
                logger.exception("a report of trial %s could not be recorded; it %s", name, _LATER)
        return str(decision)
