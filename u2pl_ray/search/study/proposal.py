"""Ask a sampler for the settings of a new trial, on a copy of the study in memory: nothing is written."""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from u2pl_ray.search.samplers.noisy_gp import NoisyGPSampler
from u2pl_ray.search.samplers.registry import SamplerChoice
from u2pl_ray.search.samplers.visible_trials import shown
from u2pl_ray.search.space.space import Space


def propose(
    choice: SamplerChoice,
    space: Space,
    directions: Sequence[StudyDirection],
    others: Sequence[FrozenTrial],
    number: int,
    fixed: Mapping[str, Any],
) -> FrozenTrial:
    """Return a trial with proposed settings, a function of the arguments.

    Args:
        choice: the sampler.
        space: what is searched.
        directions: of the objectives.
        others: the trials that the sampler may learn from; failures are marked for it, see `visible_trials`.
        number: of the new trial.
        fixed: settings that are given, as the study stores them.
    """
    sampler = choice.build(number)
    if isinstance(sampler, NoisyGPSampler):
        sampler.prepare(space.distributions, space.beliefs)
    copy = optuna.create_study(directions=directions, sampler=sampler, pruner=optuna.pruners.NopPruner())
    copy.add_trials(shown(others, space.distributions, choice.name, directions))
    if fixed:
        copy.enqueue_trial(dict(fixed))
    asked = copy.ask(space.distributions)
    frozen = copy.trials[asked.number]
    for path, parameter in space.parameters.items():
        if path not in fixed:
            frozen.params[path] = parameter.snap(frozen.params[path])
    return frozen
