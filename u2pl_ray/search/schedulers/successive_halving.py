"""Asynchronous successive halving that decides from the trials' intermediate values alone.

Optuna's `SuccessiveHalvingPruner` writes to the study that a trial has passed a rung before it returns whether the
trial goes on. If the driver is killed in between, the answer is lost and is never computed again. Here a decision is a
function of the reported values: repeated after any interruption, it comes out the same.
"""

import math

from optuna import Study
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial


class RungPruner(BasePruner):
    """ASHA (Li et al., MLSys 2020), stopping variant: a trial at a rung goes on if it is in the top 1/factor there.

    Rungs lie at `warmup + grace * factor**(bracket + k)` epochs, k = 0, 1, .... Among fewer than `factor` trials the
    best goes on. With several brackets, a trial belongs to bracket `number % brackets`; trials compete within
    theirs.

    Args:
        grace: epochs after the warm-up before a trial can be stopped (the first rung).
        factor: a trial in `factor` goes on.
        brackets: 1 for successive halving, more for HyperBand.
        warmup: epochs in which trials do not differ; budgets are counted from there.
        wrong: a trial whose trend is just at the cut is stopped with this probability; what it needs beyond the cut
            follows from the noise between epochs (`posterior.stopping_margin`). None: the cut alone decides.
    """

    def __init__(
        self, grace: int, factor: int = 3, brackets: int = 1, warmup: int = 0, wrong: float | None = None
    ) -> None:
        self.grace, self.factor, self.brackets, self.warmup, self.wrong = grace, factor, brackets, warmup, wrong

    def rungs(self, number: int, epochs: int) -> list[int]:
        """List the epochs at which a trial can be stopped.

        Args:
            number: the trial's number, which decides its bracket.
            epochs: length of a training.
        """
        budget, result = self.grace * self.factor ** (number % self.brackets), []
        while self.warmup + budget < epochs:
            result.append(self.warmup + budget)
            budget *= self.factor
        return result

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Return whether to stop a trial after its latest reported epoch.

        Args:
            study: the study, with one objective.
            trial: the trial.
        """
        epoch = trial.last_step
        if epoch is None or epoch not in self.rungs(trial.number, epoch + 1):
            return False
        value = trial.intermediate_values[epoch]
        if math.isnan(value):
            return True
        others = study.get_trials(deepcopy=False)
        values = [
            other.intermediate_values[epoch]
            for other in others
            if other.number % self.brackets == trial.number % self.brackets
            and other.number != trial.number
            and not math.isnan(other.intermediate_values.get(epoch, math.nan))
        ]
        values.append(value)
        maximize = study.direction == StudyDirection.MAXIMIZE
        values.sort(reverse=maximize)
        worst_allowed = values[max(len(values) // self.factor, 1) - 1]
        behind = worst_allowed - value if maximize else value - worst_allowed
        return behind > (0.0 if self.wrong is None else self._margin(others, self.wrong))

    def _margin(self, trials: list[FrozenTrial], wrong: float) -> float:
        """Return what a trial may be behind by luck of one epoch, by the noise in all trials' curves so far."""
        from u2pl_ray.posterior import Run, stopping_margin

        runs = []
        for trial in trials:
            last = max(trial.intermediate_values, default=0)
            later = {
                epoch / last: value
                for epoch, value in trial.intermediate_values.items()
                if epoch > self.warmup and math.isfinite(value)
            }
            if later:
                runs.append(Run(str(trial.number), 0, later))
        return stopping_margin(runs, wrong)
