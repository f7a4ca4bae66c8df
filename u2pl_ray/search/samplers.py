"""Samplers by name: what proposes the next trial. Each is an Optuna sampler; options are its own arguments."""

import hashlib
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna import Study, samplers
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning

from u2pl_ray.config.errors import UserError, nearest


class NumberedQMC(samplers.QMCSampler):
    """Quasi-random points taken by trial number, so that an interrupted proposal skips no point of the sequence.

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


def _seeded(kind: Callable[..., samplers.BaseSampler]) -> Callable[..., samplers.BaseSampler]:
    def build(seed: int, number: int, options: Mapping[str, Any]) -> samplers.BaseSampler:
        return kind(seed=trial_seed(seed, number), **options)

    return build


SAMPLERS: dict[str, tuple[Callable[..., samplers.BaseSampler], type[samplers.BaseSampler]]] = {
    "tpe": (_seeded(samplers.TPESampler), samplers.TPESampler),
    "random": (_seeded(samplers.RandomSampler), samplers.RandomSampler),
    "qmc": (_quasi_random, samplers.QMCSampler),
    "gp": (_seeded(samplers.GPSampler), samplers.GPSampler),
    "nsga2": (_seeded(samplers.NSGAIISampler), samplers.NSGAIISampler),
}
"""Name to (factory, class whose arguments are the options)."""


@dataclass(frozen=True)
class SamplerChoice:
    """A sampler by name, with its options and the search's seed.

    Raises:
        UserError: (from `check`) an unknown name or option, or a value the sampler refuses.
    """

    name: str = "tpe"
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Refuse what cannot be built."""
        if self.name not in SAMPLERS:
            raise UserError(f"sampler {self.name!r}: there are {', '.join(SAMPLERS)}{nearest(self.name, SAMPLERS)}")
        known = [name for name in inspect.signature(SAMPLERS[self.name][1]).parameters if name not in ("self", "seed")]
        for option in self.options:
            if option not in known:
                raise UserError(f"sampler {self.name}: no option {option!r}{nearest(option, known)}")
        try:
            self.build(0)
        except (TypeError, ValueError) as error:
            raise UserError(f"sampler {self.name}: {error}") from None

    def build(self, number: int) -> samplers.BaseSampler:
        """The sampler that proposes trial `number`: freshly seeded, so that nothing of it needs to be saved."""
        return SAMPLERS[self.name][0](self.seed, number, self.options)


def trial_seed(seed: int, number: int) -> int:
    """A 32-bit seed for one trial of a search."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4], "big")
