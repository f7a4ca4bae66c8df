"""Real trainings as a world: the table of `record`, replayed."""

import math
from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.evidence.rows import read_results
from benchmarks.noise.record import PAPER, RANGES, SHORT
from benchmarks.noise.world import Array, Case, Exhausted, quantile
from u2pl_ray.config.overrides import get, load
from u2pl_ray.posterior import progress, start_point

TABLE = Path(__file__).parents[1] / "results/noise_real.jsonl"


@cache
def table() -> dict[str, dict[int, Array]]:
    """Return [epochs] the teacher's validation mIoU by row and seed; the paper's row first."""
    found: dict[str, dict[int, Array]] = defaultdict(dict, {PAPER: {}})
    for result in read_results(TABLE):
        found[result["row"]][result["seed"]] = np.array(result["val/teacher"], float)
    return dict(found)


@cache
def points() -> Array:
    """Return [settings, parameters] the rows' places in the unit cube; at its edge where the paper's lies outside."""
    config = load("quickstart", SHORT)
    paper = []
    for path, (scale, low, high) in RANGES.items():
        value = get(config, path)
        part = (value - low) / (high - low) if scale == "linear" else math.log(value / low) / math.log(high / low)
        paper.append(min(max(part, 0.0), 1.0))
    rows = [start_point([0] * len(RANGES), int(row), seed=0) for row in table() if row != PAPER]
    return np.array([paper, *rows])


class Recorded:
    """Hold the table, its seeds in an order that belongs to `number`, a `World`.

    The worth of a setting is its mean over all seeds, those that a search sees among them. All seeds of a setting used
    up, there is no further training of it.
    """

    def __init__(self, case: Case, number: int) -> None:
        self._curves = list(table().values())
        last = [np.array([curve[-1] for curve in row.values()]) for row in self._curves]
        luck = math.sqrt(float(np.mean([values.var(ddof=1) for values in last])))
        self._curves = [{seed: curve / luck for seed, curve in row.items()} for row in self._curves]
        self.worth = np.array([values.mean() for values in last]) / luck
        self.points = points()
        config = load("quickstart", SHORT)
        epochs, self.warmup = config.train.epochs, config.method.warmup_epochs
        self.progress = np.array([progress(epoch, epochs, self.warmup) for epoch in range(1, epochs + 1)])
        self.paper = 0 if case.paper is None else quantile(self.worth, case.paper)
        rng = np.random.default_rng(number)
        common = sorted(set.intersection(*(set(row) for row in self._curves)))
        more = sorted(set(self._curves[0]) - set(common))
        self._order = [*rng.permutation(common), *rng.permutation(more)]
        self._met: dict[int, int] = {}

    def train(self, setting: int, seed: int) -> Array:
        """Return [epochs] the teacher's values. A seed that is new here stands for the recorded one that is next."""
        recorded = self._met.setdefault(seed, len(self._met))
        if recorded >= len(self._order) or self._order[recorded] not in self._curves[setting]:
            raise Exhausted
        return self._curves[setting][self._order[recorded]]
