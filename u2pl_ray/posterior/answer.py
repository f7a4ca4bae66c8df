"""What a search may say: which setting, how sure, and whether more budget would help."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

import numpy as np
from scipy import stats

from u2pl_ray.config.errors import UserError
from u2pl_ray.posterior.fit import Posterior
from u2pl_ray.posterior.runs import Array

_ERROR = 0.03
"""Chance of a false claim over all looks together, by the model. It errs a little more often than it says (noise that
differs from setting to setting, heavy tails, few replicates); simulated, this keeps false claims below 5 %."""
_TRAININGS = 2
"""Complete trainings that a claim needs: the first one chose the setting, and neighbours alone prove nothing."""
_WORTHWHILE = 0.5
"""A gain of interest, in standard deviations over seeds."""
_DOUBT = 0.10
"""Below this chance of a gain of interest there is nothing to find."""
_EXPLORING = 0.7
"""Part of further budget that goes to new settings; they cost about half a training each, early stopping included."""
_NEW_COST = 0.5
_DRAWS = 2000


class Verdict(Enum):
    """Name the three answers."""

    BETTER = "better"
    """The pick is better than the reference, with the probability that is said."""
    KEEP = "keep"
    """No setting is known to be better: keep the reference."""
    NOTHING = "nothing to find"
    """Keep the reference; as much budget again would hardly change that."""


@dataclass(frozen=True)
class Prospect:
    """Hold what further trainings are expected to add.

    Args:
        trainings: how many, in full trainings' worth.
        gain: expected worth of the pick afterwards minus that of the better of reference and pick now, metric units.
        chance: probability that the pick will be better than the reference by a gain of interest.
    """

    trainings: float
    gain: float
    chance: float


@dataclass(frozen=True)
class Answer:
    """Hold a search's answer. Differences are positive where the pick is better, in the metric's units.

    Args:
        verdict: what may be said.
        pick: the leader if its posterior mean is above the reference's, else the reference.
        leader: the setting that may be called better, else the best besides the reference; None if there is none.
        probability: P(leader better than the reference).
        threshold: the probability needed at this look.
        difference, low, high: leader minus reference, posterior mean and central 95 % interval.
        seed_sd: standard deviation over seeds of one training.
        snr: settings' standard deviation over `seed_sd`.
        parts: shares of the variance of one training's value: setting, seed (common to a seed), luck, epoch; sum 1.
        prospect: what more budget would add.
    """

    verdict: Verdict
    pick: str
    leader: str | None
    probability: float
    threshold: float
    difference: float
    low: float
    high: float
    seed_sd: float
    snr: float
    parts: dict[str, float]
    prospect: Prospect


def threshold(look: int = 1) -> float:
    """Return the probability that a claim needs at the given look, counted from 1.

    A look is an end of budget at which a claim may be made; going on with more budget is the next one. The error of
    3 % is spent as 0.03 / (j (j + 1)): 1.5 % at the first look, 0.5 % at the second, and never more than 3 % in all.
    """
    if look < 1:
        raise UserError(f"look {look} is not a count from 1")
    return 1 - _ERROR / (look * (look + 1))


def probability_better(posterior: Posterior, setting: int, than: int) -> float:
    """Return P(worth of `setting` > worth of `than`), Student's t per component for what is not known of the noise."""
    total = 0.0
    for c in posterior.components:
        gap, sd = _difference(c.mean, c.covariance, setting, than)
        total += c.weight * float(stats.t.cdf(gap / sd, posterior.degrees))
    return total


def interval(posterior: Posterior, setting: int, than: int, share: float = 0.95) -> tuple[float, float, float]:
    """Return mean, low and high of the difference in worth: the central interval."""
    gap, sd = _difference(posterior.mean, posterior.covariance, setting, than)
    half = sd * float(stats.t.ppf(0.5 + share / 2, posterior.degrees))
    return gap, gap - half, gap + half


def answer(posterior: Posterior, look: int = 1, more: float | None = None, diverged: Collection[str] = ()) -> Answer:
    """Return the answer of a search.

    Args:
        posterior: of all its runs, with a reference.
        look: which look this is (see `threshold`).
        more: trainings' worth that `prospect` is asked for; as many as were run, if None.
        diverged: settings with a training that diverged, of which the posterior knows nothing; none is called better.

    Raises:
        UserError: the posterior has no reference to compare with.
    """
    reference = posterior.reference
    if reference is None:
        raise UserError("there is no setting to compare with: name the reference (the paper's setting)")
    leaders = leading(posterior)
    steady = [setting for setting in leaders if posterior.settings[setting] not in diverged]
    proven = [setting for setting in steady if posterior.complete[setting] >= _TRAININGS][:1]
    needed = threshold(look)
    if more is None:
        more = float(np.nansum(np.max(np.where(np.isnan(posterior.table.values), 0, posterior.table.times), axis=1)))
    prospect = expected_gain(posterior, more)
    better = posterior.complete[reference] > 0 and any(
        probability_better(posterior, setting, reference) >= needed for setting in proven
    )
    if leaders:
        leader = (proven if better else leaders)[0]
        probability = probability_better(posterior, leader, reference)
        gap, low, high = interval(posterior, leader, reference)
    else:
        leader, probability, gap, low, high = -1, 0.0, 0.0, 0.0, 0.0
    nothing = not better and prospect.chance < _DOUBT
    return Answer(
        verdict=Verdict.BETTER if better else Verdict.NOTHING if nothing else Verdict.KEEP,
        pick=posterior.settings[leader if leaders and gap > 0 else reference],
        leader=posterior.settings[leader] if leaders else None,
        probability=probability,
        threshold=needed,
        difference=gap,
        low=low,
        high=high,
        seed_sd=posterior.seed_sd,
        snr=posterior.snr,
        parts=parts(posterior),
        prospect=prospect,
    )


def leading(posterior: Posterior) -> list[int]:
    """Return the settings besides the reference by falling posterior mean: complete ones, else all with a run."""
    tried = posterior.complete > 0
    if posterior.reference is not None:
        tried[posterior.reference] = False
    if not tried.any():
        tried = np.bincount(posterior.table.setting, minlength=len(tried)) > 0
        if posterior.reference is not None:
            tried[posterior.reference] = False
    order = np.argsort(-posterior.mean, kind="stable")
    return [int(i) for i in order if tried[i]]


def parts(posterior: Posterior) -> dict[str, float]:
    """Return the shares of setting, seed, luck and epoch in the variance of one full training; they sum to 1."""
    setting = sum(c.weight * c.setting_variance for c in posterior.components)
    total_luck = posterior.seed_sd**2
    epoch = min(posterior.epoch_variance, total_luck)
    common = min(posterior.correlations.get(1.0, 0.0) * total_luck, total_luck - epoch)
    whole = setting + total_luck
    return {
        "setting": setting / whole,
        "seed": common / whole,
        "luck": (total_luck - epoch - common) / whole,
        "epoch": epoch / whole,
    }


def expected_gain(posterior: Posterior, trainings: float) -> Prospect:
    """Return what `trainings` more full trainings' worth are expected to add, by simulation from the posterior.

    Seven tenths go to new settings, which are drawn like those tried so far; the rest to replicates of the four
    leaders and the reference. Drawn with a fixed seed: the same posterior gives the same figures.
    """
    rng = np.random.default_rng(0)
    noise = posterior.seed_sd**2
    setting = sum(c.weight * c.setting_variance for c in posterior.components)
    shown = leading(posterior)[:4]
    reference = posterior.reference
    group = np.array([*shown, *([reference] if reference is not None else [])], int)
    new = int(_EXPLORING * trainings / _NEW_COST)
    best = np.full(_DRAWS, -np.inf)
    if new:
        # The best of the new settings after about two trainings each: its worth as it will be judged.
        tried = np.bincount(posterior.table.setting, minlength=len(posterior.mean)) > 0
        judged = np.sqrt(setting * setting / (setting + noise / 2))
        best = float(posterior.mean[tried].mean()) + judged * _largest(rng, new)
    if not len(group):
        return Prospect(trainings, 0.0, 0.0)
    covariance = posterior.covariance[np.ix_(group, group)]
    each = (1 - _EXPLORING) * trainings / len(group)
    learned = covariance @ np.linalg.solve(covariance + noise / max(each, 1e-9) * np.eye(len(group)), covariance)
    root = np.linalg.cholesky(learned + 1e-9 * max(np.trace(learned), 1e-12) * np.eye(len(group)))
    later = posterior.mean[group] + rng.standard_normal((_DRAWS, len(group))) @ root.T
    after = np.maximum(later.max(axis=1), best)
    gain = float(after.mean() - posterior.mean[group].max())
    against = later[:, -1] if reference is not None else posterior.mean[group].max()
    chance = float(np.mean(after - against > _WORTHWHILE * np.sqrt(noise)))
    return Prospect(trainings, max(gain, 0.0), chance)


def _largest(rng: np.random.Generator, count: int) -> Array:
    """Return draws of the largest of `count` standard normal values, by the inverse of its distribution."""
    return np.asarray(stats.norm.ppf(rng.random(_DRAWS) ** (1 / count)), float)


def _difference(mean: Array, covariance: Array, i: int, j: int) -> tuple[float, float]:
    """Return mean and standard deviation of worth i minus worth j."""
    variance = covariance[i, i] + covariance[j, j] - 2 * covariance[i, j]
    return float(mean[i] - mean[j]), float(np.sqrt(max(variance, 1e-18)))
