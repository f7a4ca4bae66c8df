"""Ways to explore: which settings are tried, and how long each is trained."""

import heapq
import math
from collections.abc import Callable

import numpy as np

from benchmarks.noise.search import Search
from benchmarks.noise.world import Array, World
from u2pl_ray.posterior import Run, expected_improvement, stopping_margin
from u2pl_ray.posterior.proposals import START

_CANDIDATES = 192
_WRONG = 0.1
"""As `search` has it, see search/experiment/choices.py."""

Ask = Callable[[list[tuple[int, int, float]], set[int]], int]
"""Propose a setting from the (setting, epochs, value) of those that ended and the settings that were taken."""


def random_order(world: World, rng: np.random.Generator) -> Ask:
    """Return random sampling without replacement."""
    order = [int(x) for x in rng.permutation(len(world.points)) if x != world.paper]

    def ask(history: list[tuple[int, int, float]], taken: set[int]) -> int:
        return next(x for x in order if x not in taken)

    return ask


def parzen(world: World, rng: np.random.Generator) -> Ask:
    """Return Optuna's TPE in short: 10 random settings, then the best of 24 draws by univariate Parzen densities."""
    first = random_order(world, rng)

    def density(points: Array, at: Array) -> Array:
        centers = np.sort(np.vstack([points, np.full((1, points.shape[1]), 0.5)]), axis=0)
        edges = np.vstack([np.zeros(points.shape[1]), centers, np.ones(points.shape[1])])
        gaps = np.diff(edges, axis=0)
        width = np.clip(np.maximum(gaps[:-1], gaps[1:]), 1 / min(100, 1 + len(centers)), 1.0)
        kernel = np.exp(-0.5 * ((at[:, None] - centers) / width) ** 2) / width
        return np.asarray(np.log(kernel.mean(1) + 1e-12).sum(1), float)

    def ask(history: list[tuple[int, int, float]], taken: set[int]) -> int:
        if len(history) < 10:
            return first(history, taken)
        order = [h[0] for h in sorted(history, key=lambda h: (-h[1], -h[2]))]  # whole trainings first
        good = min(math.ceil(0.1 * len(order)), 25)
        free = np.array([x for x in range(len(world.points)) if x not in taken])
        likely = density(world.points[order[:good]], world.points[free])
        share = np.exp(likely - likely.max())
        drawn = rng.choice(len(free), min(24, len(free)), p=share / share.sum())
        score = likely[drawn] - density(world.points[order[good:]], world.points[free[drawn]])
        return int(free[drawn[np.argmax(score)]])

    return ask


def noisy_gp(search: Search, rng: np.random.Generator) -> Ask:
    """Return the sampler noisy-gp: evenly spread settings, then those of most expected improvement."""
    world = search.world
    first = random_order(world, rng)

    def ask(history: list[tuple[int, int, float]], taken: set[int]) -> int:
        if len(taken) <= START or not search.curves:
            return first(history, taken)
        begun = {setting for setting, _ in search.curves}
        free = [x for x in range(len(world.points)) if x not in taken]
        some = [free[i] for i in rng.permutation(len(free))[:_CANDIDATES]]
        found = expected_improvement(
            search.runs(),
            {str(x): world.points[x].tolist() for x in begun},
            [world.points[x].tolist() for x in some],
            [world.points[x].tolist() for x in taken - begun],
            str(world.paper),
        )
        return some[found[0]]

    return ask


def _grace(search: Search, part: float) -> int:
    """Return the epochs after the warm-up before anything is stopped."""
    return max(1, math.ceil(part * (search.length - search.world.warmup) - 1e-9))


def explore_whole(search: Search, budget: float, ask: Ask) -> None:
    """Train the paper's setting and new ones in full, all on one seed, until the budget is spent."""
    taken = {search.world.paper}
    search.train(search.world.paper, 0)
    history: list[tuple[int, int, float]] = []
    while search.spent + 1 <= budget and len(taken) < len(search.world.points):
        setting = ask(history, taken)
        taken.add(setting)
        history.append((setting, search.length, search.train(setting, 0)))


def explore_halving(
    search: Search, budget: float, parallel: int, ask: Ask, grace: float, factor: int = 3, margin: bool = False
) -> None:
    """Explore with asynchronous successive halving, the stopping variant, in simulated time.

    Args:
        search: the search.
        budget: trainings to spend on exploring.
        parallel: trainings at once.
        ask: proposes settings.
        grace: part of the epochs after the warm-up at which the first are stopped.
        factor: one in so many goes on.
        margin: whether a setting goes on that is behind the cut by no more than one epoch's noise.
    """
    epochs, rungs = search.length, []
    after = _grace(search, grace)
    while search.world.warmup + after < epochs:
        rungs.append(search.world.warmup + after)
        after *= factor
    steps = [*rungs, epochs]
    paper, at = search.world.paper, {rung: list[float]() for rung in rungs}
    history: list[tuple[int, int, float]] = []
    taken: set[int] = set()
    queue: list[tuple[float, int, int, int]] = []  # when, tie breaker, setting, index of the step it is on the way to
    now, count = 0.0, 0
    while True:
        committed = search.spent + sum(steps[i] - (steps[i - 1] if i else 0) for *_, i in queue) / epochs
        if len(queue) < parallel and committed + steps[0] / epochs <= budget and len(taken) < len(search.world.points):
            setting = paper if not taken else ask(history, taken | {paper})
            taken.add(setting)
            heapq.heappush(queue, (now + steps[0], count, setting, 0))
            count += 1
            continue
        if not queue:
            return
        now, _, setting, i = heapq.heappop(queue)
        value = search.train(setting, 0, steps[i])
        if steps[i] < epochs:
            at[steps[i]].append(value)
            cut = sorted(at[steps[i]], reverse=True)[max(len(at[steps[i]]) // factor, 1) - 1]
            ahead = sum(steps[j] - (steps[j - 1] if j else 0) for *_, j in queue) + steps[i + 1] - steps[i]
            slack = _margin(search) if margin else 0.0
            if (value >= cut - slack or setting == paper) and search.spent + ahead / epochs <= budget:
                heapq.heappush(queue, (now + steps[i + 1] - steps[i], count, setting, i + 1))
                count += 1
                continue
        history.append((setting, steps[i], value))


def _margin(search: Search) -> float:
    """Return what a setting may be behind, by the noise in all curves so far."""
    warmup = search.world.warmup
    runs = [
        Run(
            str(setting),
            seed,
            {e / until: float(search.curves[setting, seed][e - 1]) for e in range(warmup + 1, until + 1)},
        )
        for (setting, seed), until in search.epochs.items()
    ]
    return stopping_margin(runs, _WRONG)
