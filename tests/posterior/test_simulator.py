"""The simulator of policies in miniature: truth is found more often than invented."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.noise import recorded
from benchmarks.noise.groups import RECORDED, Cell
from benchmarks.noise.policies import run_policy
from benchmarks.noise.simulate import simulate
from benchmarks.noise.table import false_claims, merge, needed, ratio
from benchmarks.noise.world import PROGRESS, Case, Exhausted, Simulated

Lines = list[dict[str, Any]]


def test_a_training_is_the_same_again_and_its_luck_has_unit_variance() -> None:
    world = Simulated(Case(snr=0.0), 0)
    assert (world.train(3, 1) == world.train(3, 1)).all()
    curves = np.array([world.train(3, seed) for seed in range(3000)])
    assert abs(curves[:, -1].std() - 1) < 0.05
    third = int(np.argmin(np.abs(PROGRESS - 1 / 3)))
    expected = np.sqrt(PROGRESS[third]) / np.sqrt(1 + 0.12**2) ** 2
    assert abs(np.corrcoef(curves[:, third], curves[:, -1])[0, 1] - expected) < 0.04


def test_every_policy_keeps_to_its_budget() -> None:
    world = Simulated(Case(), 1)
    for policy in ("random", "random+confirm", "tpe+confirm", "tpe-halving", "search"):
        end = run_policy(policy, world, 24, 8, np.random.default_rng(0))
        assert 16 <= end.trainings <= 24.01, policy  # halving leaves what no whole training fits into


def test_claims_truths_not_luck() -> None:
    flat = simulate(Cell("random", Case(snr=0.0), 40), range(25))
    strong = simulate(Cell("search", Case(snr=3.0), 24), range(8))
    assert sum(flat["claimed"]) <= 3
    assert sum(strong["claimed"]) >= 5
    assert np.mean(strong["gain"]) > 1.0


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """A recorded table: the paper's setting on eight seeds, seven others on four, the last the best."""
    rng = np.random.default_rng(0)
    worths = {"paper": 0.5, **{f"{i:02d}": 0.4 + 0.03 * i for i in range(7)}}
    lines = [
        {"row": row, "seed": seed, "val/teacher": (worth + 0.01 * rng.standard_normal(10)).tolist()}
        for row, worth in worths.items()
        for seed in range(8 if row == "paper" else 4)
    ]
    (tmp_path / "table.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    monkeypatch.setattr(recorded, "TABLE", tmp_path / "table.jsonl")
    cached = recorded.table, recorded.points
    for function in cached:
        function.cache_clear()
    yield lines
    for function in cached:
        function.cache_clear()


def test_recorded_trainings_are_replayed_each_once(table: Lines) -> None:
    world = recorded.Recorded(RECORDED[0], 1)
    assert world.paper == 0
    assert world.worth.argmax() == 7
    assert recorded.Recorded(RECORDED[1], 1).paper not in (0, 7)
    met = [world.train(3, seed) for seed in (0, 12345, 2, 77)]
    assert (world.train(3, 12345) == met[1]).all()
    luck = world.worth[3] / np.mean([line["val/teacher"][-1] for line in table if line["row"] == "02"])
    kept = sorted(line["val/teacher"][-1] for line in table if line["row"] == "02")
    assert np.allclose(sorted(curve[-1] / luck for curve in met), kept)
    with pytest.raises(Exhausted):
        world.train(3, 4)


@pytest.mark.parametrize("policy", ["random", "search"])
def test_a_replayed_search_finds_what_is_good(table: Lines, policy: str) -> None:
    found = simulate(Cell(policy, RECORDED[0], 16), range(6))
    assert np.mean(found["regret"]) < 1.5
    assert max(found["trainings"]) <= 16


def test_ratio_reads_between_budgets() -> None:
    budgets, regrets, claims = (10, 40, 80), (1.0, 0.25, 0.125), (0.1, 0.4, 0.8)
    assert abs(needed(budgets, regrets, claims, 0.5, 0.0) - 20) < 1
    assert needed(budgets, regrets, claims, 0.5, 0.8) == 80  # the regret is there sooner than the claims
    assert needed(budgets, regrets, claims, 0.01, 0.0) == np.inf


def test_lines_of_a_cell_are_merged_and_false_claims_counted() -> None:
    cell: dict[str, Any] = {"policy": "p", "case": {"snr": 1.0, "paper": 0.7}, "budget": 40, "parallel": 8}
    lists: dict[str, Any] = {"regret": [1.0, 0.5], "claimed": [1, 1], "trainings": [40, 40], "advised": [None, 9.0]}
    rows = [{**cell, **lists, "first": 20, "gain": [0.0, 0.3]}, {**cell, **lists, "first": 0, "gain": [-0.1, 0.3]}]
    [merged] = merge(rows)
    assert merged["gain"].tolist() == [-0.1, 0.3, 0.0, 0.3]
    assert false_claims(merged) == (2, 4)  # a claim of what is as good as the paper's setting is false too
    twice = [{**merged, "budget": b, "regret": merged["regret"] * f} for b, f in ((40, 2.0), (80, 1.0), (160, 0.5))]
    assert ratio(merged, twice)[0] == pytest.approx(0.5)
