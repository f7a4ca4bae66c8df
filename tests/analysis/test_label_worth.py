import math

import pytest

from u2pl_ray.analysis.label_worth import measure, sentences
from u2pl_ray.search.space.space import Metric


def line(level: float, slope: float) -> dict[int, dict[int, float]]:
    """Supervised scores on a line over log2 of the labels; each seed has a level of its own."""
    return {count: {seed: level + 0.1 * seed + slope * math.log2(count) for seed in range(3)} for count in (5, 10, 20)}


def test_a_known_worth() -> None:
    supervised = line(0.2, 0.05)
    gains = {0: 0.04, 1: 0.05, 2: 0.06}
    worth = measure({seed: value + gains[seed] for seed, value in supervised[20].items()}, supervised)
    assert worth is not None
    assert worth.slope == pytest.approx(0.05)
    assert worth.ahead == pytest.approx(0.05)
    assert worth.equivalent(worth.ahead) == pytest.approx(40)  # one doubling
    half = 4.302653 * 0.01 / math.sqrt(3)  # Student's t, two degrees of freedom
    assert (worth.low, worth.high) == (pytest.approx(0.05 - half), pytest.approx(0.05 + half))
    said = " ".join(sentences(worth, 300, Metric("val/miou")))
    assert "about 40 (28 .. 56) labeled images: the unlabeled ones are worth about +20 labeled ones" in said
    assert "may be worth nothing" not in said


def test_a_seed_that_is_missing_somewhere_still_counts_for_the_slope() -> None:
    supervised = line(0.2, 0.05)
    del supervised[5][2]
    worth = measure({0: supervised[20][0]}, supervised)
    assert worth is not None
    assert worth.slope == pytest.approx(0.05)
    assert (worth.ahead, worth.low) == (pytest.approx(0.0), None)


def test_a_loss_is_minimized() -> None:
    supervised = line(0.9, -0.05)
    worth = measure({seed: value - 0.05 for seed, value in supervised[20].items()}, supervised, maximize=False)
    assert worth is not None
    assert worth.equivalent(worth.ahead) == pytest.approx(40)
    said = sentences(worth, 300, Metric("val/loss", maximize=False))
    assert said[0].startswith("With the 300 unlabeled images val/loss is -0.0500 (-0.0500 .. -0.0500) against")
    assert said[1] == "Twice the labels bring supervised training -0.0500."


def test_what_cannot_be_said() -> None:
    supervised = line(0.5, -0.01)
    worth = measure({0: 0.9, 1: 0.3}, supervised)
    assert worth is not None
    assert not worth.told
    assert "nothing can be said in labeled images" in sentences(worth, 10, Metric("val/miou"))[-1]
    assert measure({0: 0.5}, {20: {0: 0.4}}) is None
    assert measure({7: 0.5}, line(0.1, 0.1)) is None


def test_an_interval_with_nothing_in_it_and_a_guess_are_said() -> None:
    supervised = line(0.2, 0.01)
    worth = measure({0: supervised[20][0] + 0.2, 1: supervised[20][1] - 0.1}, supervised)
    assert worth is not None
    said = sentences(worth, 300, Metric("val/miou"))
    assert "may be worth nothing" in said[-2]
    assert "a guess" in said[-1]
