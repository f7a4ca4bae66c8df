"""Choose sampler and scheduler of a search: what was asked for, or what fits."""

from collections.abc import Mapping
from typing import Any

from u2pl_ray.config.schema import Config
from u2pl_ray.search.samplers.registry import SamplerChoice
from u2pl_ray.search.samplers.unit_cube import searched
from u2pl_ray.search.schedulers.registry import SchedulerChoice, from_early_terminate
from u2pl_ray.search.space.one_length import check_one_length
from u2pl_ray.search.space.space import Space

NOISY_GP = "noisy-gp"
_WRONG = 0.1
"""Probability with which luck of one epoch may stop a trial whose trend is just good enough."""
_FEW = 6
"""Settings up to which noisy-gp is the default; simulated with four, see docs/noise.md."""


def choose_sampler(
    asked: str | None, options: Mapping[str, Any], seed: int, space: Space, config: Config, answers: bool
) -> SamplerChoice:
    """Return the sampler that was asked for, or the one that fits.

    Args:
        asked: its name; None: random where the space's method is, else noisy-gp or TPE.
        options: its options.
        seed: of the search.
        space: what is searched.
        config: the configuration the trials start from.
        answers: whether noisy-gp fits where settings are few: replicates follow, and there is nothing earlier to learn.

    Raises:
        UserError: noisy-gp was asked for, and the length of a training is searched.
    """
    default = "random" if space.method == "random" else "tpe"
    if answers and space.method != "random" and len(searched(space.distributions)) <= _FEW:
        default = NOISY_GP
    name = asked or default
    if name == NOISY_GP:
        check_one_length(space, f"--sampler {NOISY_GP}", "use another sampler")
        options = {"epochs": config.train.epochs, "warmup_epochs": _warmup(config), **options}
    return SamplerChoice(name, seed, dict(options))


def choose_scheduler(
    asked: str | None, options: Mapping[str, Any], space: Space, config: Config, answers: bool
) -> SchedulerChoice:
    """Return the scheduler that was asked for, else the space's `early_terminate`, else ASHA.

    Args:
        asked: its name, None for the default.
        options: its options.
        space: what is searched.
        config: the configuration the trials start from.
        answers: whether replicates follow; early stopping then allows for the noise between epochs.

    Raises:
        UserError: it cannot be built, or stops no trial before its last epoch.
    """
    epochs = config.train.epochs
    if asked is None and not options and space.early_terminate is not None:
        stopping = from_early_terminate(space.early_terminate, epochs, space.source)
    else:
        more = {"wrong": _WRONG} if asked is None and answers else {}
        stopping = SchedulerChoice(asked or "asha", {**more, **options}).after(_warmup(config), epochs)
    stopping.build(epochs)
    stopping.check_reached(epochs)
    return stopping


def _warmup(config: Config) -> int:
    """Return the number of first epochs in which trials with different method settings train identically."""
    return config.method.warmup_epochs if config.method.semi_supervised else 0
