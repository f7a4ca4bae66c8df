"""Ray Tune's scheduler: pass every report to the driver, and return its decision."""

import logging
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from u2pl_ray.search.driver.assignment import Outcome
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.execution.interrupts import end_now
from u2pl_ray.search.storage.leased import TakenOverError
from u2pl_ray.search.study.trial_record import State

logger = logging.getLogger(__name__)

REPORT = "report"
"""Key of a Tune result that holds an epoch's metrics, as a list of one (Tune flattens mappings)."""
OUTCOME = "outcome"
"""Key of a Tune result that holds state, reason and detail of a training's end."""


class StudyScheduler(FIFOScheduler):
    """Tune scheduler that runs trials in order; the study's pruner stops them. Its hooks raise no exception."""

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self._driver = driver

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Record an epoch or an end; return whether the trial goes on, as one of Tune's constants.

        Args:
            tune_controller: unused.
            trial: Tune's trial.
            result: an epoch's metrics under `REPORT`, or an end under `OUTCOME`.
        """
        name = trial.config["trial"]
        decision = TrialScheduler.STOP if OUTCOME in result else TrialScheduler.CONTINUE
        try:
            for metrics in result.get(REPORT, ()):
                if self._driver.report(name, metrics):
                    decision = TrialScheduler.STOP
            if OUTCOME in result:
                state, reason, detail = result[OUTCOME]
                self._driver.finish(name, Outcome(State(state), reason, detail))
        except TakenOverError as error:
            end_now(str(error))
        except OSError as error:
            logger.warning("a report of trial %s could not be stored; resume will ask for it again (%s)", name, error)
        except Exception:
            logger.exception("a report of trial %s could not be recorded; resume will ask for it again", name)
        return str(decision)
