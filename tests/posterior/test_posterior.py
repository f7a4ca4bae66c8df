"""The posterior against a dense restatement, analytic values and simulated truths."""

from typing import Any

import numpy as np
import pytest

from u2pl_ray.config.errors import UserError
from u2pl_ray.posterior import (
    Run,
    Verdict,
    answer,
    fit,
    interval,
    leading,
    probability_better,
    progress,
    threshold,
)
from u2pl_ray.posterior.frame import frame
from u2pl_ray.posterior.level import effects, evidences, solve, summarize


def study(count: int) -> tuple[list[Run], dict[str, list[float]]]:
    """Return runs of `count` settings in a plane, stopped and whole, replicated, one collapsed; and their points."""
    rng = np.random.default_rng(0)
    points = {str(i): rng.random(2).tolist() for i in range(count)}
    runs = []
    for i in range(count):
        name, last = str(i), 20 if i % 6 == 0 else 10 if i % 3 == 0 else 5
        value = 4 * points[name][0] + np.cumsum(rng.normal(size=20)) / 4
        runs.append(Run(name, 0, {(e + 1) / 20: float(value[e]) for e in range(last)}))
    for k in range(count // 3):
        name = str(6 * (k % 5))
        value = 4 * points[name][0] + rng.normal() - (20 if k == 4 else 0)
        runs.append(Run(name, 1000 + k // 5, {1.0: float(value)}))
    return runs, points


def full(setting: str, seed: int, value: float) -> Run:
    return Run(setting, seed, {1.0: value})


def test_one_level_is_the_dense_gaussian_posterior() -> None:
    """The answer from sufficient statistics equals conditioning on every run at once."""
    rng = np.random.default_rng(0)
    setting = np.array([0, 0, 0, 1, 1, 2, 3, 3, 4])
    seed = np.array([0, 1, 2, 0, 1, 0, 0, 2, 7])
    y, before, weight = rng.normal(size=9), rng.normal(size=9), rng.uniform(0.3, 1.0, 9)
    root = rng.normal(size=(6, 6))
    prior, rho = root @ root.T / 6 + np.eye(6), 0.3
    runs = frame(np.ones(9, bool), setting, seed, y, before, slope=0.6)
    level = summarize(runs, weight, rho=rho)
    solution = solve(level, prior, rho)
    mean, left, slope = effects(level, solution, prior)
    covariance = left + slope @ solution.inverse @ slope.T

    flat = 1e7  # the intercept's variance, "flat"
    steep = 0.3**2 / runs.spread
    shift = before - runs.center
    observed = (
        prior[np.ix_(setting, setting)]
        + flat
        + steep * np.outer(shift, shift)
        + rho * (seed[:, None] == seed[None])
        + np.diag((1 - rho) / weight)
    )
    gain = np.linalg.solve(observed, prior[:, setting].T).T
    assert mean == pytest.approx(gain @ (y - 0.6 * shift), abs=1e-4)
    assert covariance == pytest.approx(prior - gain @ prior[:, setting].T, abs=1e-4)


def test_independent_settings_need_no_matrix() -> None:
    rng = np.random.default_rng(1)
    setting, seed = np.sort(rng.integers(0, 6, 40)), rng.integers(0, 5, 40)
    y, weight = rng.normal(size=40), rng.uniform(0.5, 1, 40)
    level = summarize(frame(np.ones(40, bool), setting, seed, y, None, slope=0.0), weight)
    fast, dense = solve(level, np.full(6, 1.7), 0.2), solve(level, 1.7 * np.eye(6), 0.2)
    assert fast.evidence == pytest.approx(dense.evidence)
    for priors in ([np.full(6, x) for x in (0.4, 1.7)], [x * np.eye(6) for x in (0.4, 1.7)]):
        assert evidences(level, priors, 0.2)[1] == pytest.approx(fast.evidence)  # many at once
    for a, b in zip(effects(level, fast, np.full(6, 1.7)), effects(level, dense, 1.7 * np.eye(6)), strict=True):
        assert (np.diag(a) if a.ndim < b.ndim else a) == pytest.approx(b)


@pytest.mark.parametrize(
    ("count", "smooth", "mean", "sd", "probability"),
    [
        (45, True, [2.46836107, -0.3577669, 2.92856994], [0.61147358, 1.17966583, 0.94977627], 0.78371557),
        (45, False, [2.28385391, 1.17763718, 2.27902802], [0.82505255, 1.33944217, 1.05412917], 0.57497902),
        (400, True, [2.52503664, -0.20132645, 3.34771177], [0.1360113, 1.22183899, 1.18798465], 0.99999461),
    ],
)
def test_golden(count: int, smooth: bool, mean: Any, sd: Any, probability: float) -> None:
    """What a first, slower writing of the same model gave: run by run, choice by choice, no shared work."""
    runs, points = study(count)
    posterior = fit(runs, "0", points if smooth else None)
    assert posterior.mean[:3] == pytest.approx(mean, abs=1e-6)
    assert posterior.sd[:3] == pytest.approx(sd, abs=1e-6)
    assert probability_better(posterior, leading(posterior)[0], 0) == pytest.approx(probability, abs=1e-6)
    mixed = fit(runs[::-1], "0", points if smooth else None)  # the order of the runs does not matter
    assert dict(zip(mixed.settings, mixed.mean, strict=True)) == pytest.approx(
        dict(zip(posterior.settings, posterior.mean, strict=True)), abs=1e-6
    )


def test_minimized_metric_is_the_mirror_image() -> None:
    rng = np.random.default_rng(2)
    runs = [full(str(s), seed, rng.normal() + s / 3) for s in range(6) for seed in range(3)]
    mirrored = [full(r.setting, r.seed, -r.values[1.0]) for r in runs]
    up, down = fit(runs, "0"), fit(mirrored, "0", maximize=False)
    assert down.worth() == pytest.approx(-up.worth())
    assert answer(up) == answer(down)


def test_shrinks_the_best_of_many() -> None:
    """The best of 60 alike settings is said to be worth hardly more than the others, and is not claimed."""
    values = np.random.default_rng(3).normal(70, 1, 60)
    posterior = fit([full(str(i), 0, v) for i, v in enumerate(values)], "0")
    assert posterior.mean.max() - posterior.mean[1:].mean() < 0.7 * (values.max() - values.mean())
    assert answer(posterior).verdict is not Verdict.BETTER


def test_a_true_difference_is_claimed_and_its_interval_holds_it() -> None:
    rng = np.random.default_rng(4)
    runs = [full(str(s), seed, (2.0 if s == 3 else 0.0) + rng.normal()) for s in range(6) for seed in range(12)]
    posterior = fit(runs, "0")
    said = answer(posterior)
    assert said.verdict is Verdict.BETTER
    assert said.pick == said.leader == "3"
    assert said.low < 2.0 < said.high
    assert said.seed_sd == pytest.approx(1.0, rel=0.25)
    assert sum(said.parts.values()) == pytest.approx(1.0)


def test_only_a_setting_that_was_trained_twice_is_claimed() -> None:
    """Neighbours and one lucky training make "high" look best; of the others the one with replicates is named."""
    rng = np.random.default_rng(9)
    runs = [full(str(s), seed, (3.0 if s == 3 else 0.0) + rng.normal() / 5) for s in range(6) for seed in range(4)]
    posterior = fit([*runs, full("high", 0, 5.0)], "0")
    assert posterior.settings[int(np.argmax(posterior.mean))] == "high"
    said = answer(posterior)
    assert (said.verdict, said.leader, said.pick) == (Verdict.BETTER, "3", "3")
    assert answer(fit([*runs, full("high", 0, 5.0), full("high", 1, 5.0)], "0")).leader == "high"
    alone = answer(fit([run for run in runs if run.setting != "3"] + [full("high", 0, 5.0)], "0"))
    assert (alone.verdict, alone.leader) == (Verdict.KEEP, "high")
    assert alone.probability > alone.threshold


def test_pairs_sharpen_a_difference() -> None:
    """On common seeds of strong common luck the interval is narrower than on seeds of their own."""
    rng = np.random.default_rng(5)
    common = 5 * rng.normal(size=10)
    own = rng.normal(size=(2, 10))
    paired = [full(str(s), seed, 1.5 * s + common[seed] + own[s, seed]) for s in range(2) for seed in range(10)]
    apart = [full(r.setting, r.seed + 100 * int(r.setting), r.values[1.0]) for r in paired]
    sharp, dull = fit(paired, "0"), fit(apart, "0")
    width = [high - low for _, low, high in (interval(sharp, 1, 0), interval(dull, 1, 0))]
    assert width[0] < 0.6 * width[1]
    assert sharp.correlations[1.0] > 0.6


def test_a_collapsed_training_does_not_poison() -> None:
    rng = np.random.default_rng(6)
    runs = [full(str(s), seed, rng.normal()) for s in range(8) for seed in range(8)]
    clean = answer(fit(runs, "0"))
    runs[0] = full("0", 0, runs[0].values[1.0] - 30.0)  # one of the reference's
    poisoned = fit(runs, "0")
    assert answer(poisoned).verdict is not Verdict.BETTER
    assert poisoned.seed_sd == pytest.approx(clean.seed_sd, rel=0.3)
    assert abs(answer(poisoned).difference - clean.difference) < 0.5


def test_stopped_runs_count_but_less() -> None:
    rng = np.random.default_rng(7)
    runs = [
        Run(str(s), 0, {0.3: 2.0 * s / 10 + rng.normal() / 5, 1.0: 2.0 * s / 10 + rng.normal() / 5}) for s in range(10)
    ]
    runs += [Run("low", 0, {0.3: -3.0}), Run("high", 0, {0.3: 4.0})]
    posterior = fit(runs, "0")
    row = {name: i for i, name in enumerate(posterior.settings)}
    assert posterior.mean[row["low"]] < posterior.mean[row["5"]] < posterior.mean[row["high"]]
    assert posterior.sd[row["high"]] > posterior.sd[row["5"]]
    assert posterior.complete[row["high"]] == 0
    assert answer(posterior).leader != "high"  # nobody has seen its end


def test_smooth_prior_learns_from_neighbours() -> None:
    at = np.linspace(0, 1, 25)
    truth, points = 3 * np.sin(3 * at), {str(i): [x] for i, x in enumerate(at)}
    errors = []
    for draw in range(5):
        noisy = truth + np.random.default_rng(draw).normal(size=25)
        runs = [full(str(i), 0, value) for i, value in enumerate(noisy)]
        errors.append([np.std(fit(runs, None, p).mean - truth) for p in (points, None)])
    smooth, flat = np.mean(errors, axis=0)
    assert smooth < 0.8 * flat


def test_nothing_beyond_the_first_rung_yet() -> None:
    runs = [Run(str(s), 0, {0.3: float(s)}) for s in range(5)]
    posterior = fit(runs, "0")
    assert np.isfinite(posterior.sd).all()
    assert answer(posterior).verdict is not Verdict.BETTER


def test_no_two_runs_end_together_and_none_is_complete() -> None:
    """As when 40 trainings run at once, each at an epoch of its own: the median end is a level, 1 nobody's."""
    rng = np.random.default_rng(8)
    runs = [
        Run(str(s), 0, {(e + 1) / 100: e / 100 + (s == 30) + rng.normal() / 10 for e in range(10 + s)})
        for s in range(40)
    ]
    posterior = fit(runs, "0")
    assert posterior.table.times == pytest.approx([0.3, 1.0])
    assert np.isfinite(posterior.sd).all()
    assert posterior.settings[int(np.argmax(posterior.mean))] == "30"
    assert answer(posterior).verdict is not Verdict.BETTER


def test_looks_spend_three_percent() -> None:
    assert threshold(1) == pytest.approx(0.985)
    assert sum(1 - threshold(look) for look in range(1, 2000)) == pytest.approx(0.03, abs=1e-4)


@pytest.mark.parametrize("runs", [[], [Run("a", 0, {})], [Run("a", 0, {1.5: 3.0})]])
def test_refuses(runs: Any) -> None:
    with pytest.raises(UserError):
        fit(runs, "a")


def test_refuses_missing_points_and_epochs() -> None:
    with pytest.raises(UserError, match="no point"):
        fit([full("a", 0, 1.0)], None, {"b": [0.5]})
    with pytest.raises(UserError, match="no setting to compare"):
        answer(fit([full("a", 0, 1.0)]))
    with pytest.raises(UserError):
        progress(21, 20)
    assert progress(20, 20, 2) == 1.0
