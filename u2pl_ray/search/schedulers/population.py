"""Population-based training: the worst trials end, and copies of the best ones go on in their place.

A copy, called a fork, is a trial of its own (`forks`): it starts from its parent's checkpoint with its parent's
settings, perturbed. Which trials end, which are copied and how settings are perturbed depends only on the reported
values and the seed, as with `RungPruner`.
"""

import math
import random
from collections.abc import Mapping
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from u2pl_ray.search.study.competing import Competing
from u2pl_ray.search.study.trial_record import FORK


class PopulationPruner(BasePruner):
    """PBT (Jaderberg et al., 2017), truncation selection, asynchronous: a trial in the last `quantile` ends.

    A trial is judged after `warmup + k * interval` epochs, k = 1, 2, ..., against all that reached that epoch. Among
    fewer than 1 / quantile trials none ends.

    Args:
        interval: epochs between decisions.
        quantile: the share that ends, and the share at the top that is copied; at most a half.
        perturbation: how far a fork's settings are moved, as a share of their ranges.
        warmup: epochs in which trials do not differ.
    """

    def __init__(self, interval: int, quantile: float = 0.25, perturbation: float = 0.1, warmup: int = 0) -> None:
        self.interval, self.quantile, self.perturbation, self.warmup = interval, quantile, perturbation, warmup

    def decides(self, epoch: int) -> bool:
        """Return whether trials are judged after `epoch` epochs."""
        return epoch > self.warmup and (epoch - self.warmup) % self.interval == 0

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Return whether a trial ends after its latest reported epoch.

        Args:
            study: the study, with one objective.
            trial: the trial.
        """
        epoch = trial.last_step
        if epoch is None or not self.decides(epoch):
            return False
        numbers = self.ranking(study, epoch)
        return trial.number in numbers[len(numbers) - int(len(numbers) * self.quantile) :]

    def ranking(self, study: Study | Competing, epoch: int) -> list[int]:
        """Return the numbers of the trials that trained an epoch themselves, best first.

        Args:
            study: the study, with one objective.
            epoch: from 1; a fork did not train the epochs of its parent.
        """
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        values = {
            trial.number: sign * trial.intermediate_values[epoch]
            for trial in study.get_trials(deepcopy=False)
            if epoch in trial.intermediate_values and epoch > trial.user_attrs.get(FORK, (0, 0))[1]
        }
        finite = [number for number, value in values.items() if math.isfinite(value)]
        return sorted(finite, key=lambda number: (values[number], number))

    def leaders(self, study: Study | Competing, epoch: int, population: int | None = None) -> list[int]:
        """Return the numbers of the trials that are copied after `epoch`, best first.

        Args:
            study: the study, with one objective.
            epoch: number of epochs done.
            population: size of the whole population; given, trials are included that may still be copied when the
                others have reached the epoch. None: of the trials that have reached it.
        """
        numbers = self.ranking(study, epoch)
        return numbers[: max(1, int((population or len(numbers)) * self.quantile))]


def perturb(
    settings: Mapping[str, Any], distributions: Mapping[str, BaseDistribution], share: float, seed: int
) -> dict[str, Any]:
    """Move each number among a trial's settings up or down by a share of its range.

    Moves are on the range's own scale (linear or logarithmic) and end at its bounds. Choices stay.

    Args:
        settings: by dotted path, as the study stores them.
        distributions: range of each setting.
        share: size of the move as a fraction of the range.
        seed: decides the direction of each move.
    """
    generator = random.Random(seed)
    return {path: _moved(value, distributions[path], share, generator) for path, value in settings.items()}


def _moved(value: Any, distribution: Any, share: float, generator: random.Random) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return value
    low, high, point = distribution.low, distribution.high, value
    if distribution.log:
        low, high, point = math.log(low), math.log(high), math.log(value)
    point = min(max(point + generator.choice((-share, share)) * (high - low), low), high)
    moved = math.exp(point) if distribution.log else point
    if distribution.step is not None:
        steps = round((moved - distribution.low) / distribution.step)
        moved = distribution.low + steps * distribution.step
    moved = min(max(moved, distribution.low), distribution.high)
    return int(moved) if isinstance(distribution, IntDistribution) else moved
