"""A simulated search: its trainings, what they cost, and how it ended."""

import math
from dataclasses import dataclass

from benchmarks.noise.world import Array, World
from u2pl_ray.posterior import Posterior, Run, expected_gain, fit

_DOUBT = 0.10
"""Below this chance of a gain of interest, a search would be advised to stop."""
_LEAST = 8
"""Settings that are tried before it may be advised so."""


@dataclass(frozen=True)
class Outcome:
    """Hold how a search ended.

    Args:
        pick: the setting it names.
        claimed: whether it says that it is better than the paper's.
        trainings: what was spent, in full trainings.
        advised: what was spent when it first said that the rest would hardly add anything; infinite if never.
    """

    pick: int
    claimed: bool
    trainings: float
    advised: float = math.inf


class Search:
    """Hold the trainings of one search and what they cost."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.length = len(world.progress)
        self.curves: dict[tuple[int, int], Array] = {}
        self.epochs: dict[tuple[int, int], int] = {}
        self.marks: dict[tuple[int, int], list[int]] = {}
        self.advised = math.inf

    def train(self, setting: int, seed: int, until: int | None = None) -> float:
        """Train a setting until an epoch (None: the last), or go on with it. Return the teacher's value there."""
        until = until or self.length
        key = (setting, seed)
        if key not in self.curves:
            self.curves[key] = self.world.train(setting, seed)
            self.marks[key] = []
        self.epochs[key] = until
        self.marks[key].append(until)
        return float(self.curves[key][until - 1])

    @property
    def spent(self) -> float:
        """Full trainings' worth so far."""
        return sum(self.epochs.values()) / self.length

    def runs(self) -> list[Run]:
        """Return all trainings as the posterior reads them."""
        return [
            Run(
                str(setting),
                seed,
                {self.world.progress[e - 1]: float(self.curves[setting, seed][e - 1]) for e in marks},
            )
            for (setting, seed), marks in self.marks.items()
        ]

    def posterior(self, smooth: bool) -> Posterior:
        """Return what is known."""
        names = {setting for setting, _ in self.curves}
        points = {str(setting): self.world.points[setting].tolist() for setting in names} if smooth else None
        return fit(self.runs(), str(self.world.paper), points)

    def look(self, posterior: Posterior, budget: float) -> None:
        """Note when first the rest of the budget is expected to change hardly anything."""
        tried = len({setting for setting, _ in self.curves})
        if tried <= _LEAST or self.advised < math.inf or self.spent >= budget:
            return
        if expected_gain(posterior, budget - self.spent).chance < _DOUBT:
            self.advised = self.spent
