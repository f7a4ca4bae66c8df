"""Samplers by name, which propose trials. Each is an Optuna sampler; its options are that class's arguments."""

import hashlib
import inspect
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna import Study, samplers
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning

from u2pl_ray.config.errors import UserError, nearest
from u2pl_ray.search.samplers.noisy_gp import NoisyGPSampler


class NumberedQMC(samplers.QMCSampler):
    """Quasi-random sampler that takes points by trial number, so that an interrupted proposal skips no point.

    Optuna counts points in the study instead (https://optuna.readthedocs.io, QMCSampler).
    """

    def __init__(self, number: int, **options: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            super().__init__(**options)
        self._number = number

    def _find_sample_id(self, study: Study, search_space: dict[str, BaseDistribution]) -> int:
        return self._number


def _quasi_random(seed: int, number: int, options: Mapping[str, Any]) -> samplers.BaseSampler:
    # One sequence for the whole study: the seed is the study's, not the trial's.
    defaults = {"scramble": True, "warn_asynchronous_seeding": False, "warn_independent_sampling": False}
    return NumberedQMC(number, seed=trial_seed(seed, 0), **{**defaults, **options})


def _cmaes(seed: int, number: int, options: Mapping[str, Any]) -> samplers.BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return samplers.CmaEsSampler(seed=trial_seed(seed, number), **{"warn_independent_sampling": False, **options})


def _noisy_gp(seed: int, number: int, options: Mapping[str, Any]) -> samplers.BaseSampler:
    # One sequence of first points for the whole study; later draws depend on the number too.
    return NoisyGPSampler(number, seed, **options)


def _seeded(kind: Callable[..., samplers.BaseSampler]) -> Callable[..., samplers.BaseSampler]:
    def build(seed: int, number: int, options: Mapping[str, Any]) -> samplers.BaseSampler:
        return kind(seed=trial_seed(seed, number), **options)

    return build


@dataclass(frozen=True)
class SamplerSpec:
    """What the search must know of a sampler.

    Attributes:
        build: makes it from the search's seed, the trial's number, and its options.
        options: the class whose arguments are the options.
        warm_start: it learns from trials that it did not propose, and so from other experiments.
        completed_only: it learns nothing from trials stopped early (cmaes: unless consider_pruned_trials=true).
        one_objective: it cannot handle several objectives.
        by_constraint: failed trials are shown to it as violated constraints; else with the worst value so far.
        numbers_only: it moves numbers alone, and draws choices at random.
        priors: it starts from the priors of a space.
    """

    build: Callable[..., samplers.BaseSampler]
    options: type[samplers.BaseSampler]
    warm_start: bool = False
    completed_only: bool = False
    one_objective: bool = False
    by_constraint: bool = False
    numbers_only: bool = False
    priors: bool = False


SAMPLERS: dict[str, SamplerSpec] = {
    "tpe": SamplerSpec(_seeded(samplers.TPESampler), samplers.TPESampler, warm_start=True, by_constraint=True),
    "random": SamplerSpec(_seeded(samplers.RandomSampler), samplers.RandomSampler),
    "qmc": SamplerSpec(_quasi_random, samplers.QMCSampler),
    "gp": SamplerSpec(_seeded(samplers.GPSampler), samplers.GPSampler, warm_start=True, completed_only=True),
    "noisy-gp": SamplerSpec(_noisy_gp, NoisyGPSampler, one_objective=True, priors=True),
    "cmaes": SamplerSpec(_cmaes, samplers.CmaEsSampler, completed_only=True, one_objective=True, numbers_only=True),
    "nsga2": SamplerSpec(_seeded(samplers.NSGAIISampler), samplers.NSGAIISampler, completed_only=True),
}
"""By name. With several objectives, tpe is multi-objective TPE."""

_PLAIN: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "str": (str,),
    "None": (type(None),),
}


@dataclass(frozen=True)
class SamplerChoice:
    """A sampler by name, with its options and the search's seed. Call `check` before `build`."""

    name: str = "tpe"
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> SamplerSpec:
        """Return what is known of the sampler."""
        return SAMPLERS[self.name]

    def check(self, objectives: int = 1) -> None:
        """Check that the sampler can be built and can handle the number of objectives.

        Raises:
            UserError: an unknown name or option, a refused value, or several objectives for a sampler of one.
        """
        if self.name not in SAMPLERS:
            raise UserError(f"sampler {self.name!r}: there are {', '.join(SAMPLERS)}{nearest(self.name, SAMPLERS)}")
        if objectives > 1 and self.spec.one_objective:
            others = ", ".join(name for name, spec in SAMPLERS.items() if not spec.one_objective)
            raise UserError(f"sampler {self.name}: cannot weigh {objectives} objectives; use one of {others}")
        known = _options(self.spec.options)
        for option, value in self.options.items():
            if option not in known:
                raise UserError(f"sampler {self.name}: no option {option!r}{nearest(option, known)}")
            kinds = tuple(kind for word in known[option] for kind in _PLAIN[word])
            if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
                raise UserError(f"sampler {self.name}: {option} {value!r}: expected {' or '.join(known[option])}")
        try:
            self.build(0)
        except (TypeError, ValueError) as error:
            raise UserError(f"sampler {self.name}: {error}") from None

    def build(self, number: int) -> samplers.BaseSampler:
        """Build the sampler of trial `number`, with a seed of its own, so that no sampler state needs to be saved."""
        return self.spec.build(self.seed, number, self.options)


def _options(kind: type[samplers.BaseSampler]) -> dict[str, list[str]]:
    """Return the sampler's arguments that can be given on a command line, each with the names of its types."""
    found = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        kinds = parameter.annotation
        words = re.findall(r"\w+", kinds.__name__ if isinstance(kinds, type) else str(kinds))
        if name not in ("seed", "number") and words and set(words) <= _PLAIN.keys():
            found[name] = words
    return found


def trial_seed(seed: int, number: int) -> int:
    """Compute the 32-bit seed of one trial: the first four bytes of SHA-256 of `<seed>/<number>`.

    Args:
        seed: of the search.
        number: of the trial.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4], "big")
