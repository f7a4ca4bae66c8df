"""The sampler noisy-gp: proposals by expected improvement from the posterior over noisy trainings, stopped ones too.

See u2pl_ray/posterior/ and docs/noise.md. Every parameter must have a value in every setting: there are no conditional
ones.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from u2pl_ray.search.samplers.unit_cube import categories, from_unit, searched, to_unit

if TYPE_CHECKING:  # scipy, which only a proposal needs
    from u2pl_ray.posterior.belief import Believed

FIXED = "fixed_params"
"""System attribute where Optuna keeps the settings of a queued trial: they are given, not proposed."""
_PAPER = "paper"
"""Note of the trial that others are compared with: `trial_record.PAPER`, of a room above this one."""


class NoisyGPSampler(BaseSampler):
    """Optuna sampler that asks the posterior. The same study and number give the same proposal.

    Args:
        number: of the trial that is proposed.
        seed: of the search.
        epochs: of a training.
        warmup_epochs: first epochs in which all settings train alike.
    """

    def __init__(self, number: int = 0, seed: int = 0, epochs: int = 1, warmup_epochs: int = 0) -> None:
        self._number, self._seed, self._epochs = number, seed, epochs
        self._warmup = min(warmup_epochs, epochs - 1)
        self._random = RandomSampler(seed=int(np.random.SeedSequence([seed, number]).generate_state(1)[0]))
        self._distributions: dict[str, BaseDistribution] = {}
        self._beliefs: Mapping[str, Believed] = {}

    def prepare(self, distributions: Mapping[str, BaseDistribution], beliefs: Mapping[str, "Believed"]) -> None:
        """Learn what is searched; Optuna tells a sampler only of the trials before.

        Args:
            distributions: of all parameters.
            beliefs: where good values are believed to lie, in the unit cube.
        """
        self._distributions, self._beliefs = searched(distributions), beliefs

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters that can vary, but for the seed."""
        return self._distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the next setting to try, see `posterior.propose`."""
        if not search_space:
            return {}
        from u2pl_ray.posterior import Run, propose

        points: dict[str, list[float]] = {}
        runs: dict[tuple[str, int], Run] = {}  # the same setting on the same seed is the same training: the longest
        pending: list[list[float]] = []
        reference = None
        first = True
        for other in study.get_trials(deepcopy=False):
            if other.number == trial.number:
                continue
            first = first and FIXED in other.system_attrs
            if not search_space.keys() <= other.params.keys():
                continue
            point = to_unit(search_space, other.params)
            label = repr(point)
            if values := self._values(other):
                points[label] = point
                run = Run(label, int(other.params.get("seed", 0)), values)
                runs[label, run.seed] = max(runs.get((label, run.seed), run), run, key=lambda it: max(it.values))
                reference = label if other.user_attrs.get("note") == _PAPER else reference
            if other.state == TrialState.RUNNING:
                pending.append(point)
        proposal = propose(
            list(runs.values()),
            points,
            categories(search_space),
            pending,
            self._number,
            self._seed,
            reference,
            study.direction == StudyDirection.MAXIMIZE,
            [self._beliefs.get(path) for path in search_space] if self._beliefs else None,
            first,
        )
        return from_unit(search_space, proposal.tolist())

    def sample_independent(self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        """Return a value drawn at random: of a parameter without influence, such as the seed."""
        return self._random.sample_independent(study, trial, name, distribution)

    def _values(self, trial: FrozenTrial) -> dict[float, float]:
        """Return a trial's values by progress; of one that failed by its settings, the bad value it is shown with."""
        if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING):
            return {}
        from u2pl_ray.posterior import progress

        found = {
            progress(epoch, self._epochs, self._warmup): value
            for epoch, value in trial.intermediate_values.items()
            if 1 <= epoch <= self._epochs and math.isfinite(value)
        }
        if not found and trial.state == TrialState.COMPLETE and trial.values:
            return {1.0: trial.values[0]}
        return found
