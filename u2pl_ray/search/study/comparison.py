"""How a setting of a search compares with another method, such as supervised training, on seeds that both have."""

import math
from dataclasses import dataclass

import numpy as np

from u2pl_ray.search.study.judgement import Judgement


@dataclass(frozen=True)
class Comparison:
    """Hold how a setting compares with another method.

    Attributes:
        setting: id of its first trial.
        seeds: new seeds that both were trained on.
        probability: P(the setting is better).
        threshold: the probability needed to say so.
        difference, low, high: posterior mean and central 95 % interval; positive where the setting is better.
        diverged: the setting's trainings on new seeds that diverged, which have no value to compare.
        theirs_diverged: the other method's.
    """

    setting: str
    seeds: int
    probability: float
    threshold: float
    difference: float
    low: float
    high: float
    diverged: int = 0
    theirs_diverged: int = 0

    @property
    def better(self) -> bool:
        """Return whether the setting may be called better: surely enough, and without a training that diverged."""
        return self.probability >= self.threshold and not (self.diverged or self.theirs_diverged)


def compare(judgement: Judgement, method: str, setting: str | None = None) -> Comparison | None:
    """Return how a setting compares with another method, by the replicates of both on the same new seeds.

    The model of the settings does not fit here: it takes them to be alike beforehand, and another method need not
    be. So the plain mean of n differences, with the noise that was learned from all trainings: Student's t with
    scale seed_sd sqrt(2 / n). The first trainings are left out, as the setting was chosen by its own.

    Args:
        judgement: of a search.
        method: a baseline's name, such as supervised.
        setting: the setting; None: the one to use.

    Returns:
        None without a new seed that both have.
    """
    label, posterior = judgement.baselines.get(method, ""), judgement.posterior
    if posterior is None:
        return None
    chosen = (judgement.use or "") if setting is None else setting
    one, other = (_new(judgement, name) for name in (chosen, label))
    common = sorted(one.keys() & other.keys())
    if not common:
        return None
    from scipy import stats

    from u2pl_ray.posterior import threshold

    sign = 1 if judgement.space.metric.maximize else -1
    gap = float(np.mean([sign * (one[seed] - other[seed]) for seed in common]))
    scale = posterior.seed_sd * math.sqrt(2 / len(common))
    half = scale * float(stats.t.ppf(0.975, posterior.degrees))
    probability = float(stats.t.cdf(gap / scale, posterior.degrees))
    lost = (judgement.diverged_with_baselines.get(name, 0) for name in (chosen, label))
    return Comparison(chosen, len(common), probability, threshold(judgement.look), gap, gap - half, gap + half, *lost)


def _new(judgement: Judgement, label: str) -> dict[int, float]:
    """Return a setting's values by seed, those of its replicates alone."""
    return {seed: value for seed, value, record in judgement.seeds.get(label, ()) if record.replicate}
