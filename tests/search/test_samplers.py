import optuna
import pytest
from optuna.distributions import BaseDistribution

from u2pl_ray.config.errors import UserError
from u2pl_ray.search.samplers.noisy_gp import NoisyGPSampler
from u2pl_ray.search.samplers.registry import SAMPLERS, SamplerChoice, trial_seed


@pytest.mark.parametrize("name", SAMPLERS)
def test_proposals_depend_on_seed_and_number_alone(name: str) -> None:
    def propose(seed: int, number: int) -> dict[str, float]:
        space: dict[str, BaseDistribution] = {"x": optuna.distributions.FloatDistribution(0, 1)}
        sampler = SamplerChoice(name, seed).build(number)
        if isinstance(sampler, NoisyGPSampler):
            sampler.prepare(space, {})
        study = optuna.create_study(sampler=sampler)
        study.add_trial(optuna.trial.create_trial(params={"x": 0.5}, distributions=space, value=1.0))
        return dict(study.ask(space).params)

    assert propose(1, 3) == propose(1, 3)
    assert propose(1, 3) != propose(1, 4)
    assert propose(1, 3) != propose(2, 3)


def test_quasi_random_points_are_one_sequence() -> None:
    """Points 0..7 of a scrambled Sobol sequence fall one into each eighth."""
    space: dict[str, BaseDistribution] = {"x": optuna.distributions.FloatDistribution(0, 1)}
    drawn = []
    for number in range(8):
        study = optuna.create_study(sampler=SamplerChoice("qmc", 5).build(number))
        study.add_trial(optuna.trial.create_trial(params={"x": 0.5}, distributions=space, value=1.0))
        drawn.append(study.ask(space).params["x"])
    assert sorted(int(value * 8) for value in drawn) == list(range(8))


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (SamplerChoice("tpe2"), ["sampler 'tpe2'", "did you mean 'tpe'"]),
        (SamplerChoice("tpe", options={"n_startup_trial": 3}), ["no option", "did you mean 'n_startup_trials'"]),
        (SamplerChoice("tpe", options={"seed": 3}), ["no option 'seed'"]),
        (SamplerChoice("tpe", options={"n_startup_trials": "x"}), ["n_startup_trials 'x'", "expected int"]),
        (SamplerChoice("tpe", options={"n_startup_trials": True}), ["n_startup_trials True", "expected int"]),
        (SamplerChoice("nsga2", options={"crossover": "x"}), ["no option 'crossover'"]),
        (SamplerChoice("nsga2", options={"population_size": 1}), ["sampler nsga2: ", "2"]),
        (SamplerChoice("tpe", options={"group": True, "multivariate": False}), ["sampler tpe: "]),
    ],
)
def test_refused(choice: SamplerChoice, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        choice.check()
    for word in words:
        assert word in str(caught.value)


def test_options_reach_the_sampler() -> None:
    choice = SamplerChoice("tpe", options={"n_startup_trials": 3})
    choice.check()
    assert choice.build(0)._n_startup_trials == 3  # type: ignore[attr-defined]


def test_seeds_differ() -> None:
    seeds = {trial_seed(seed, number) for seed in range(20) for number in range(200)}
    assert len(seeds) == 4000
