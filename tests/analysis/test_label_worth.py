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
    assert "about 40 (28 .. more than 40) labeled images: the unlabeled ones are worth about +20 labeled ones" in said
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


def test_an_interval_with_nothing_in_it_and_what_was_never_trained_on_are_said() -> None:
    supervised = line(0.2, 0.01)
    worth = measure({0: supervised[20][0] + 0.2, 1: supervised[20][1] - 0.1}, supervised)
    assert worth is not None
    said = sentences(worth, 300, Metric("val/miou"))
    assert "with more than 40 (fewer than 5 .. more than 40) labeled images" in said[2]
    assert "the unlabeled ones are worth more than +20 labeled ones" in said[2]
    assert "may be worth nothing" in said[3]
    assert said[4].endswith("the line is followed to 40.")
    assert "worth more than +7 labeled ones" in sentences(worth, 7, Metric("val/miou"))[2]  # no more than there are


NOISE = {5: (0.598, 0.602, 0.600), 10: (0.599, 0.600, 0.601), 20: (0.600, 0.602, 0.601)}


def test_a_slope_that_is_noise_tells_nothing() -> None:
    supervised = {count: dict(enumerate(values)) for count, values in NOISE.items()}
    worth = measure({0: 0.65, 1: 0.66, 2: 0.64}, supervised)
    assert worth is not None
    assert worth.slope == pytest.approx(0.0005)
    said = sentences(worth, 200, Metric("val/miou"))
    assert said[-1] == "That is not more than noise, so nothing can be said in labeled images."
    assert len(said) == 3
    two = measure({0: 0.65}, {count: {0: supervised[count][0]} for count in (10, 20)})
    assert two is not None
    assert "With so few trainings" in sentences(two, 200, Metric("val/miou"))[-1]


def test_the_slope_s_interval_is_that_of_least_squares() -> None:
    """With one seed it is the textbook's, which scipy has."""
    from scipy import stats

    counts, values = [5, 10, 20, 40], [0.31, 0.33, 0.41, 0.44]
    textbook = stats.linregress([math.log2(count) for count in counts], values)
    worth = measure({0: 0.5}, {count: {0: value} for count, value in zip(counts, values, strict=True)})
    assert worth is not None
    assert worth.slope == pytest.approx(textbook.slope)
    assert worth.slope_low == pytest.approx(textbook.slope - stats.t.ppf(0.975, 2) * textbook.stderr)
