"""Replicates and proposals."""

from typing import Any

import numpy as np
import pytest

from u2pl_ray.config.errors import UserError
from u2pl_ray.posterior import Purpose, Replicate, Run, encode, fit, next_replicates, propose, seed_for


def runs_of(values: Any) -> Any:
    return [Run(str(i), 0, {1.0: float(v)}) for i, v in enumerate(values)]


def test_seeds_of_different_purposes_never_meet() -> None:
    drawn = [seed_for(base, purpose, n) for base in (0, 7, 999) for purpose in list(Purpose)[1:] for n in range(50)]
    assert len(set(drawn)) == len(drawn)
    assert min(drawn) > 999  # exploring uses the base itself
    with pytest.raises(UserError):
        seed_for(5000, Purpose.CONFIRM)


def test_leaders_are_halved_and_the_reference_always_takes_part() -> None:
    runs, left, total, widths = runs_of(range(12)), 30, 30, []
    while left:
        chosen = next_replicates(fit(runs, "0"), left, total, base=3)
        assert 0 < len(chosen) <= left
        widths.append(len({r.setting for r in chosen}))
        assert "0" in {r.setting for r in chosen}
        runs += [Run(r.setting, r.seed, {1.0: float(r.setting)}) for r in chosen]
        left -= len(chosen)
    assert widths == sorted(widths, reverse=True)
    assert widths[0] == 7  # six leaders and the reference
    keys = [(r.setting, r.seed) for r in runs]
    assert len(set(keys)) == len(keys)


def test_replicates_share_seeds() -> None:
    chosen = next_replicates(fit(runs_of(range(12)), "0"), 30, 30, base=3)
    seeds = {s: [r.seed for r in chosen if r.setting == s] for s in {r.setting for r in chosen}}
    assert all(drawn[0] == seed_for(3, Purpose.REPLICATE, 0) for drawn in seeds.values())


def test_baselines_leave_room_for_the_leaders() -> None:
    """Twelve trainings: the last seed has no room for all, and it is the baseline that is left out."""
    runs, left = runs_of(range(12)), 12
    trained: list[Replicate] = []
    while left:
        chosen = next_replicates(fit(runs, "0"), left, 12, base=0, begun=trained, baselines=["supervised"])
        left -= len(chosen)
        trained += chosen
        named = [it.setting for it in chosen]
        assert set(named) - {"0", "supervised"}
        assert named.count("0") >= named.count("supervised")
        runs += [Run(r.setting, r.seed, {1.0: float(r.setting)}) for r in chosen if r.setting != "supervised"]
    last = [next_replicates(fit(runs, "0"), left, 20, 0, begun=trained, baselines=["supervised"]) for left in (1, 2)]
    assert [[it.setting for it in chosen] for chosen in last] == [["0"], ["0", "11"]]
    assert len(set(trained)) == len(trained)


def test_a_replicate_that_failed_does_not_come_again_on_its_seed() -> None:
    """It has no value; the next ones of all settings are on one common seed again."""
    first, second = (seed_for(0, Purpose.REPLICATE, number) for number in (0, 1))
    runs = [*runs_of(range(3)), Run("0", first, {1.0: 0.0}), Run("1", first, {1.0: 1.0})]  # that of 2 failed
    begun = [Replicate(setting, first) for setting in "012"]
    chosen = next_replicates(fit(runs, "0"), 2, 6, base=0, begun=begun)
    assert [(it.setting, it.seed) for it in chosen] == [("0", second), ("2", second)]


def test_encodes_choices_apart_and_refuses_absent_parameters() -> None:
    a, b = encode([0.3, 0.1], [0, 3]), encode([0.3, 0.9], [0, 3])
    assert np.linalg.norm(np.subtract(a, b)) == pytest.approx(1.0)
    with pytest.raises(UserError, match="conditional"):
        encode([float("nan")], [0])


def test_proposals_find_the_peak_and_differ_and_repeat() -> None:
    rng = np.random.default_rng(0)
    points = {str(i): rng.random(2).tolist() for i in range(20)}
    runs = [
        Run(s, 0, {1.0: -20 * float(np.sum((np.array(p) - 0.4) ** 2)) + 0.1 * rng.normal()}) for s, p in points.items()
    ]
    first = propose(runs, points, [0, 0], [], number=20, seed=1)
    assert np.abs(first - 0.4).max() < 0.25
    assert (first == propose(runs, points, [0, 0], [], number=20, seed=1)).all()
    second = propose(runs, points, [0, 0], [first.tolist()], number=21, seed=1)
    assert np.abs(first - second).max() > 1e-3
    low = [Run(r.setting, 0, {1.0: -r.values[1.0]}) for r in runs]
    assert propose(low, points, [0, 0], [], number=20, seed=1, maximize=False) == pytest.approx(first)
