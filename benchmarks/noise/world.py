"""Worlds that searches are tried in: what can be trained, and what comes out.

Simulated: settings' true worth, and each training's luck on its way there. Units: the luck of one full training has
standard deviation 1; `snr` is that of the settings' worth. With t the progress after the warm-up:

    what a setting shows at t    F(x, t) = sqrt(t) f(x) + sqrt(1 - t) e(x)      f is its worth, e an early-only effect
    a run's luck at t            W(t), Markov with corr(t, t') = sqrt(t / t'); a share `RHO` is common to a seed
    the teacher's value          F + W + epoch noise of sd 0.12, correlated 0.5 from one epoch to the next
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from u2pl_ray.posterior import progress

Array = NDArray[np.float64]
EPOCHS, WARMUP = 20, 2
POOL, DIMENSIONS = 512, 5
RHO, EPOCH_SD, EPOCH_CORRELATION = 0.15, 0.12, 0.5
LENGTHS = np.array([0.3, 0.45, 0.7, 3.0, 6.0])
"""Length scales of the smooth landscapes: three of five parameters matter."""
PROGRESS = np.array([progress(epoch, EPOCHS, WARMUP) for epoch in range(1, EPOCHS + 1)])
COLLAPSE = 8.0


@dataclass(frozen=True)
class Case:
    """Name a kind of world.

    Args:
        structure: smooth, rough (every setting on its own), mixed (half of the variance each), or recorded (real
            trainings, see recorded.py).
        snr: standard deviation of the settings' worth; 0 is flat; None: as recorded.
        paper: the quantile of the settings' worth at which the paper's setting lies; 1 is the best; None: where it
            was recorded.
        luck: normal, heavy (Student's t with 3 degrees of freedom), unequal (sd by setting, log-normal 0.5), or outlier
            (the paper's first training collapses).
    """

    structure: str = "smooth"
    snr: float | None = 1.0
    paper: float | None = 0.7
    luck: str = "normal"


class Exhausted(Exception):
    """No further training of a setting was recorded."""


class World(Protocol):
    """What a search can train. A setting is a row of `points`.

    Attributes:
        points: [settings, parameters], in the unit cube.
        progress: [epochs] of a training, 0 at the warm-up's end and 1 at the training's.
        warmup: epochs.
        paper: the paper's setting.
        worth: [settings] mean over all luck of the last value; the luck's standard deviation is 1.
    """

    points: Array
    progress: Array
    warmup: int
    paper: int
    worth: Array

    def train(self, setting: int, seed: int) -> Array:
        """Return [epochs] the teacher's values of one training: the same for the same setting and seed.

        Raises:
            Exhausted: there is no such training.
        """
        ...


def quantile(worth: Array, place: float) -> int:
    """Return the setting whose worth lies at a quantile."""
    return int(np.argsort(worth, kind="stable")[round(place * (len(worth) - 1))])


@cache
def pool() -> Array:
    """Return the settings that can be tried, [POOL, DIMENSIONS] in the unit cube."""
    return np.asarray(qmc.Sobol(DIMENSIONS, seed=0).random(POOL), float)


@cache
def _root() -> Array:
    """Return the Cholesky factor of the smooth landscapes' covariance (Gaussian kernel)."""
    scaled = pool() / LENGTHS
    square = ((scaled[:, None] - scaled[None]) ** 2).sum(-1)
    return np.linalg.cholesky(np.exp(-0.5 * square) + 1e-6 * np.eye(POOL))


class Simulated:
    """Hold one landscape over `pool()`, a `World`."""

    def __init__(self, case: Case, seed: int) -> None:
        if case.snr is None or case.paper is None:
            raise ValueError(f"{case}: only what is recorded has an snr and a paper's setting of its own")
        self.points, self.progress, self.warmup = pool(), PROGRESS, WARMUP
        self.case = case
        self._seed = seed
        rng = np.random.default_rng([seed, 0])
        self.worth = case.snr * self._landscape(rng)
        self._early = case.snr * self._landscape(rng)
        self.paper = quantile(self.worth, case.paper)
        self.sd = np.exp(0.5 * rng.standard_normal(POOL)) if case.luck == "unequal" else np.ones(POOL)

    def _landscape(self, rng: np.random.Generator) -> Array:
        smooth, rough = _root() @ rng.standard_normal(POOL), rng.standard_normal(POOL)
        found = {"smooth": smooth, "rough": rough, "mixed": (smooth + rough) / math.sqrt(2)}[self.case.structure]
        return np.asarray((found - found.mean()) / found.std(), float)

    def _path(self, rng: np.random.Generator) -> Array:
        """Return [EPOCHS] luck of unit variance."""
        steps = rng.standard_normal(EPOCHS)
        if self.case.luck == "heavy":
            steps = rng.standard_t(3, EPOCHS) / math.sqrt(3)
        path = np.empty(EPOCHS)
        path[0] = steps[0]
        keep = np.sqrt(PROGRESS[:-1] / PROGRESS[1:])
        for i in range(1, EPOCHS):
            path[i] = keep[i - 1] * path[i - 1] + math.sqrt(1 - keep[i - 1] ** 2) * steps[i]
        return path

    def train(self, setting: int, seed: int) -> Array:
        """Return [EPOCHS] the teacher's values of one training: the same for the same setting and seed."""
        own = np.random.default_rng([self._seed, 1, setting, seed])
        common = self._path(np.random.default_rng([self._seed, 2, seed]))
        luck = self.sd[setting] * (math.sqrt(RHO) * common + math.sqrt(1 - RHO) * self._path(own))
        noise = EPOCH_SD * own.standard_normal(EPOCHS)
        for i in range(1, EPOCHS):
            noise[i] = EPOCH_CORRELATION * noise[i - 1] + math.sqrt(1 - EPOCH_CORRELATION**2) * noise[i]
        value = np.sqrt(PROGRESS) * self.worth[setting] + np.sqrt(1 - PROGRESS) * self._early[setting] + luck + noise
        if self.case.luck == "outlier" and setting == self.paper and seed == 0:
            value -= COLLAPSE * PROGRESS
        return np.asarray(value, float)
