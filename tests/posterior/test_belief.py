"""What a user believes: the density, draws from it, and how proposals start from it and unlearn it."""

import numpy as np
import pytest
from scipy import integrate, stats

from u2pl_ray.posterior import Run, propose, start_point
from u2pl_ray.posterior.belief import believe, log_density, weight


@pytest.mark.parametrize("belief", [(0.5, 0.5), (0.3, 0.6), (0.0, 0.0), (0.9, 1.0), (0.0, 1.0)])
def test_draws_follow_the_density(belief: tuple[float, float]) -> None:
    def density(x: float) -> float:
        return float(np.exp(log_density(np.array([[x]]), [belief], [0])[0]))

    total = integrate.quad(density, 0, 1, points=[*belief])[0]
    at = np.linspace(0.02, 0.98, 25)
    drawn = [believe(np.array([share]), [belief], [0])[0] for share in at]
    below = [integrate.quad(density, 0, x, points=[b for b in belief if b < x] or None)[0] / total for x in drawn]
    assert below == pytest.approx(at, abs=1e-6)


def test_draws_of_choices_follow_the_density() -> None:
    belief = (1 / 3, 2 / 3)  # the second of three
    drawn = [believe(np.array([share]), [belief], [3])[0] for share in (np.arange(700) + 0.5) / 700]
    counts = np.bincount([int(3 * x) for x in drawn])
    assert counts.tolist() == [100, 500, 100]
    odds = np.exp(log_density(np.array([[0.1], [0.5], [0.9]]), [belief], [3]))
    assert odds / odds.max() == pytest.approx(counts / counts.max())


def test_starts_at_the_belief_and_stays_spread() -> None:
    beliefs = [(0.9, 0.9), None]
    points = np.array([start_point([0, 0], n, 3, beliefs, first=n == 0) for n in range(64)])
    even = np.array([start_point([0, 0], n, 3) for n in range(64)])
    assert points[0, 0] == pytest.approx(0.9)
    assert (points[:, 1] == even[:, 1]).all()  # nothing is believed of it
    assert (points[1::2] == even[1::2]).all()
    assert np.median(np.abs(points[::2, 0] - 0.9)) < 0.15
    assert stats.kstest(points[1::2, 0], "uniform").pvalue > 0.2


def test_a_wrong_belief_counts_at_first_and_is_unlearned() -> None:
    def place(beliefs: list[tuple[float, float] | None] | None, trials: int) -> float:
        """Return the median of the last three proposals; the best value is 0.2."""
        points: dict[str, list[float]] = {}
        runs: list[Run] = []
        rng = np.random.default_rng(0)
        for number in range(trials):
            found = propose(runs, points, [0], [], number, 0, beliefs=beliefs, first=number == 0)
            points[str(number)] = found.tolist()
            value = -6 * float((found[0] - 0.2) ** 2) + 0.5 * rng.normal()
            runs.append(Run(str(number), 0, {1.0: value}))
        return float(np.median([points[str(n)][0] for n in range(trials - 3, trials)]))

    assert abs(place(None, 11) - 0.2) < 0.25
    assert place([(0.9, 0.9)], 11) > place(None, 11) + 0.15
    assert abs(place([(0.9, 0.9)], 30) - 0.2) < 0.25


def test_fades() -> None:
    assert weight(8) > 1 > weight(20) > weight(200) > 0
