"""How much of their training trials will have before a scheduler stops them, as far as that can be known beforehand."""

import math
from itertools import pairwise

from u2pl_ray.search.schedulers.registry import EARLY, SchedulerChoice, part
from u2pl_ray.search.schedulers.successive_halving import RungPruner

_MEDIAN_STARTUP = 5


def survival(choice: SchedulerChoice, epochs: int, trials: int) -> list[list[float]]:
    """Return for each trial, in the order in which they come, the probability that it trains each epoch.

    Trials are taken for exchangeable: none is expected to be better than those before it, so a sampler that learns
    makes more of them go on than said here. Of the n trials that have come to a rung of successive halving the best
    max(floor(n / factor), 1) go on, so the n-th one does with max(floor(n / factor), 1) / n. The median rule lets a
    trial go on that is above the median of the completed ones, which become better and better: of the trials after the
    first s = `startup_trials` one goes on with s / 2k, if k are complete by then. Other schedulers stop none. On
    recorded trainings (tests/search/test_expected.py) this is 1 to 6 % off for rungs, and 15 % too high for the median
    rule, which stops more later on.

    Args:
        choice: the scheduler; what noise adds to the cut (`wrong`) is left out.
        epochs: of a training.
        trials: how many there are.
    """
    pruner = choice.build(epochs)
    if isinstance(pruner, RungPruner):
        return _by_rungs(pruner, epochs, trials)
    everything = [1.0] * epochs
    if choice.name != "median":
        return [everything] * trials
    warmup = choice.options.get("warmup", 0)
    first = warmup + part(EARLY, epochs - warmup, choice.options.get("grace"))
    startup = max(1, choice.options.get("startup_trials", _MEDIAN_STARTUP))
    found, complete = [everything] * min(startup, trials), float(startup)
    while len(found) < trials:
        goes_on = startup / 2 / complete
        complete += goes_on
        found.append([1.0 if epoch < first else goes_on for epoch in range(epochs)])
    return found


def _by_rungs(pruner: RungPruner, epochs: int, trials: int) -> list[list[float]]:
    """See `survival`; arrivals at a later rung are counted by their expectation."""
    arrived: dict[tuple[int, int], float] = {}
    found = []
    for number in range(trials):
        reaches, ends = 1.0, [0, *pruner.rungs(number, epochs), epochs]
        chances: list[float] = []
        for start, end in pairwise(ends):
            chances += [reaches] * (end - start)
            rung = number % pruner.brackets, end
            arrived[rung] = arrived.get(rung, 0.0) + reaches
            count = max(1.0, arrived[rung])
            reaches *= max(math.floor(count / pruner.factor + 1e-9), 1) / count
        found.append(chances)
    return found
