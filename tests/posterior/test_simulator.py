"""The simulator of policies in miniature: truth is found more often than invented."""

import numpy as np

from benchmarks.noise.groups import Cell
from benchmarks.noise.policies import run_policy
from benchmarks.noise.simulate import simulate
from benchmarks.noise.table import needed
from benchmarks.noise.world import PROGRESS, Case, World


def test_a_training_is_the_same_again_and_its_luck_has_unit_variance() -> None:
    world = World(Case(snr=0.0), 0)
    assert (world.train(3, 1) == world.train(3, 1)).all()
    curves = np.array([world.train(3, seed) for seed in range(3000)])
    assert abs(curves[:, -1].std() - 1) < 0.05
    third = int(np.argmin(np.abs(PROGRESS - 1 / 3)))
    expected = np.sqrt(PROGRESS[third]) / np.sqrt(1 + 0.12**2) ** 2
    assert abs(np.corrcoef(curves[:, third], curves[:, -1])[0, 1] - expected) < 0.04


def test_every_policy_keeps_to_its_budget() -> None:
    world = World(Case(), 1)
    for policy in ("random", "random+confirm", "tpe+confirm", "tpe-halving", "noisy-gp"):
        end = run_policy(policy, world, 24, 8, np.random.default_rng(0))
        assert 16 <= end.trainings <= 24.01, policy  # halving leaves what no whole training fits into


def test_claims_truths_not_luck() -> None:
    flat = simulate(Cell("random", Case(snr=0.0), 40), reps=25)
    strong = simulate(Cell("tpe-halving", Case(snr=3.0), 40), reps=15)
    assert flat["false"] <= 0.12
    assert strong["claims"] >= 0.7
    assert strong["gain"] > 1.0


def test_ratio_reads_between_budgets() -> None:
    rows = [{"budget": b, "regret": 10.0 / b, "claims": b / 100} for b in (10, 40, 80)]
    assert abs(needed(rows, 10 / 20, 0.0) - 20) < 1
    assert needed(rows, 0.01, 0.0) == np.inf
