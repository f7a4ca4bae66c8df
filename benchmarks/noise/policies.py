"""Policies: how a budget of trainings is spent, and what is said at the end."""

import math

import numpy as np
from scipy import stats

from benchmarks.noise.explore import (
    explore_halving,
    explore_whole,
    noisy_gp,
    parzen,
    random_order,
)
from benchmarks.noise.search import Outcome, Search
from benchmarks.noise.world import Exhausted, World
from u2pl_ray.posterior import Purpose, Verdict, answer, next_replicates, seed_for
from u2pl_ray.search.schedulers.registry import FACTOR, GRACE

EXPLORING = 0.7


def replicate_and_answer(search: Search, budget: float, smooth: bool) -> Outcome:
    """Spend the rest on replicates of the leaders and the paper's setting; answer from the posterior.

    Where trainings were recorded, it ends when one is wanted that was not.
    """
    total = int(budget - search.spent)
    left = total
    while left > 0:
        posterior = search.posterior(smooth)
        search.look(posterior, budget)
        chosen = next_replicates(posterior, left, total, base=0)
        if not chosen:
            break
        try:
            for replicate in chosen:
                search.train(int(replicate.setting), replicate.seed)
        except Exhausted:
            break
        left -= len(chosen)
    said = answer(search.posterior(smooth))
    return Outcome(int(said.pick), said.verdict is Verdict.BETTER, search.spent, search.advised)


def confirm(search: Search, top: int, seeds: int) -> Outcome:
    """Compare the best complete settings with the paper's on new seeds: paired t, Bonferroni; pick the best mean."""
    paper = search.world.paper
    whole = [s for (s, seed), epochs in search.epochs.items() if epochs == search.length and seed == 0 and s != paper]
    order = sorted(whole, key=lambda s: -search.curves[s, 0][-1])[:top]
    numbers = [seed_for(0, Purpose.CONFIRM, n) for n in range(seeds)]
    values = {s: np.array([search.train(s, number) for number in numbers]) for s in [paper, *order]}
    pick = max(values, key=lambda s: float(values[s].mean()))
    if pick == paper:
        return Outcome(pick, False, search.spent)
    gap = values[pick] - values[paper]
    needed = stats.t.ppf(1 - 0.025 / len(order), seeds - 1) * gap.std(ddof=1) / math.sqrt(seeds)
    return Outcome(pick, bool(gap.mean() > needed), search.spent)


def run_policy(name: str, world: World, budget: int, parallel: int, rng: np.random.Generator) -> Outcome:
    """Return how a policy's search ends. See `POLICIES` for the names."""
    search, exploring = Search(world), EXPLORING * budget
    if name == "random":  # baseline B
        explore_whole(search, exploring, random_order(world, rng))
        return replicate_and_answer(search, budget, smooth=False)
    if name == "random+smooth":
        explore_whole(search, exploring, random_order(world, rng))
        return replicate_and_answer(search, budget, smooth=True)
    if name == "random+confirm":
        explore_whole(search, budget - 12, random_order(world, rng))
        return confirm(search, 3, 3)
    if name == "tpe+confirm":  # the default before
        explore_halving(search, budget - 12, parallel, parzen(world, rng), 0.5)
        return confirm(search, 3, 3)
    if name == "random-halving":
        explore_halving(search, exploring, parallel, random_order(world, rng), 0.33)
        return replicate_and_answer(search, budget, smooth=False)
    if name == "tpe-halving":
        explore_halving(search, exploring, parallel, parzen(world, rng), 0.33)
        return replicate_and_answer(search, budget, smooth=False)
    if name == "tpe-halving+smooth":
        explore_halving(search, exploring, parallel, parzen(world, rng), 0.33)
        return replicate_and_answer(search, budget, smooth=True)
    if name == "search":  # what `search --trainings` does, without a supervised baseline
        explore_halving(search, exploring, parallel, noisy_gp(search, rng), GRACE, FACTOR, margin=True)
        return replicate_and_answer(search, budget, smooth=True)
    raise ValueError(f"no policy {name}")


POLICIES = (
    "random",
    "random+smooth",
    "random+confirm",
    "tpe+confirm",
    "random-halving",
    "tpe-halving",
    "tpe-halving+smooth",
    "search",
)
