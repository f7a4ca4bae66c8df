"""Schedulers by name, which stop trials early. Each is an Optuna pruner over the values reported per epoch."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.pruners import BasePruner, MedianPruner, NopPruner

from u2pl_ray.config.errors import UserError, nearest
from u2pl_ray.search.schedulers.population import PopulationPruner
from u2pl_ray.search.schedulers.successive_halving import RungPruner

GRACE = 0.5
"""Successive halving's first rung, as a fraction of the epochs after the warm-up. On recorded U2PL trainings over the
paper's settings, the ranking at a fifth of them says nothing of the ranking at the end, and a search that stops trials
there loses the best setting in 10 of 30 runs (`benchmarks/search_efficiency.py`)."""
EARLY = 0.2
"""First decision of schedulers that decide again at later epochs, as the same fraction."""
FACTOR = 3


def _none(epochs: int) -> BasePruner:
    return NopPruner()


def _asha(
    epochs: int, grace: int | None = None, factor: int = FACTOR, warmup: int = 0, wrong: float | None = None
) -> BasePruner:
    return RungPruner(part(GRACE, epochs - warmup, grace), factor, warmup=warmup, wrong=wrong)


def _hyperband(
    epochs: int, grace: int | None = None, factor: int = FACTOR, brackets: int | None = None, warmup: int = 0
) -> BasePruner:
    first = part(EARLY, epochs - warmup, grace)
    if brackets is None:  # as many as leave the last one a rung before the end
        brackets = max(1, math.ceil(math.log((epochs - warmup) / first, factor) - 1e-9))
    return RungPruner(first, factor, brackets, warmup)


def _median(epochs: int, grace: int | None = None, startup_trials: int = 5, warmup: int = 0) -> BasePruner:
    return MedianPruner(n_startup_trials=startup_trials, n_warmup_steps=warmup + part(EARLY, epochs - warmup, grace))


def _pbt(
    epochs: int, interval: int | None = None, quantile: float = 0.25, perturbation: float = 0.1, warmup: int = 0
) -> BasePruner:
    return PopulationPruner(part(EARLY, epochs - warmup, interval), quantile, perturbation, warmup)


SCHEDULERS: dict[str, tuple[Callable[..., BasePruner], tuple[str, ...]]] = {
    "none": (_none, ()),
    "asha": (_asha, ("grace", "factor", "warmup", "wrong")),
    "hyperband": (_hyperband, ("grace", "factor", "brackets", "warmup")),
    "median": (_median, ("grace", "startup_trials", "warmup")),
    "pbt": (_pbt, ("interval", "quantile", "perturbation", "warmup")),
}
"""Name to (factory, options)."""

_LEAST = {"factor": 2, "startup_trials": 0, "warmup": 0}
_SHARES = {"quantile": 0.5, "perturbation": 1.0, "wrong": 0.5}
"""Options that are fractions above 0, with their largest allowed value."""


@dataclass(frozen=True)
class SchedulerChoice:
    """A scheduler by name, with its options."""

    name: str = "asha"
    options: Mapping[str, Any] = field(default_factory=dict)

    def after(self, warmup: int, epochs: int) -> "SchedulerChoice":
        """Return the choice with its `warmup` option, if it has one, set to `warmup` epochs, unless the user set it.

        Args:
            warmup: epochs in which trials do not differ; budgets are counted from their end.
            epochs: length of a training.
        """
        known = SCHEDULERS[self.name][1] if self.name in SCHEDULERS else ()  # `build` refuses an unknown name
        if "warmup" not in known or "warmup" in self.options or not 0 < warmup < epochs:
            return self
        return SchedulerChoice(self.name, {**self.options, "warmup": warmup})

    def build(self, epochs: int) -> BasePruner:
        """Build the pruner for trainings of `epochs` epochs.

        Raises:
            UserError: an unknown name or option, or a value that makes no sense.
        """
        if self.name not in SCHEDULERS:
            raise UserError(
                f"scheduler {self.name!r}: there are {', '.join(SCHEDULERS)}{nearest(self.name, SCHEDULERS)}"
            )
        factory, known = SCHEDULERS[self.name]
        for option, value in self.options.items():
            if option not in known:
                has = f"it has {', '.join(known)}" if known else "it has none"
                raise UserError(f"scheduler {self.name}: no option {option!r}; {has}{nearest(option, known)}")
            if option in _SHARES:
                if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _SHARES[option]:
                    raise UserError(
                        f"scheduler {self.name}: {option} {value!r}: give a fraction above 0, at most {_SHARES[option]}"
                    )
                continue
            least = _LEAST.get(option, 1)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UserError(f"scheduler {self.name}: {option} {value!r}: give a whole number from {least} on")
        return factory(epochs, **self.options)

    def check_reached(self, epochs: int) -> None:
        """Refuse a scheduler that is told to act only when trainings of `epochs` epochs have ended.

        Raises:
            UserError: naming the option.
        """
        option = _FIRST.get(self.name, "")
        if option not in self.options:
            return
        given, warmup = self.options[option], self.options.get("warmup", 0)
        if given + warmup >= epochs:
            after = f", {given} after the warm-up of {warmup}" if warmup else ""
            raise UserError(
                f"scheduler {self.name}: {option}={given} is never reached: the first stop would be after epoch "
                f"{given + warmup}{after}, and train.epochs={epochs}; use a smaller one, or --scheduler none"
            )


_FIRST = {"asha": "grace", "hyperband": "grace", "median": "grace", "pbt": "interval"}
"""The option that says when a scheduler may act for the first time, in epochs after the warm-up."""


def from_early_terminate(body: Mapping[str, Any], epochs: int, source: str) -> SchedulerChoice:
    """Convert W&B's `early_terminate` to a scheduler: its `hyperband` is successive halving with one bracket.

    `min_iter`, `eta`: rungs at min_iter, min_iter * eta, ...; `max_iter`, `s`, `eta`: the first at max_iter / eta**s.

    Args:
        body: the mapping below `early_terminate`.
        epochs: length of a training.
        source: name of the space file in messages.

    Raises:
        UserError: another type, an unknown key, or values that give no rung.
    """
    where = f"{source}: early_terminate"
    keys = ("type", "min_iter", "max_iter", "s", "eta")
    for key, value in body.items():
        if key not in keys:
            raise UserError(f"{where}: unknown key {key!r}; there are {', '.join(keys)}{nearest(str(key), keys)}")
        if key != "type" and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise UserError(f"{where}: {key} {value!r}: give a whole number from 1 on")
    if body.get("type") != "hyperband":
        raise UserError(f"{where}: type {body.get('type')!r} is not supported: use hyperband, or --scheduler")
    factor = body.get("eta", FACTOR)
    if factor < 2:
        raise UserError(f"{where}: eta {factor}: give a whole number from 2 on")
    if "min_iter" in body:
        if "max_iter" in body or "s" in body:
            raise UserError(f"{where}: give either min_iter, or max_iter and s")
        grace = body["min_iter"]
    elif "max_iter" in body and "s" in body:
        grace = max(1, body["max_iter"] // factor ** body["s"])
    else:
        raise UserError(f"{where}: give min_iter, or max_iter and s")
    if grace >= epochs:
        raise UserError(f"{where}: the first rung at {grace} epochs is never reached with train.epochs={epochs}")
    return SchedulerChoice("asha", {"grace": grace, "factor": factor})


def part(share: float, epochs: int, given: int | None) -> int:
    """Return `given`, or that share of the epochs, rounded up.

    Args:
        share: between 0 and 1.
        epochs: after the warm-up.
        given: by the user, or None.
    """
    return given if given is not None else max(1, math.ceil(share * epochs - 1e-9))
