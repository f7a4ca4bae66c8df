import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.method import golden
from u2pl_ray.config.method import AlphaConfig
from u2pl_ray.method.alpha import alpha_at

fractions = st.floats(0, 1)
kinds = st.sampled_from(["linear", "constant", "cosine", "polynomial"])


@pytest.mark.parametrize("case", golden.CASES)
def test_the_papers_schedule_matches_golden(case: str) -> None:
    """alpha_t = 20 % * (1 - t / T), in percent in the vectors."""
    config = golden.load(case)
    start = config.config["low_entropy_threshold"] / 100
    alpha = alpha_at(AlphaConfig(start=start), config.config["epoch"], config.config["epochs"])
    assert alpha * 100 == pytest.approx(float(config.numpy(0, "alpha_t")), abs=1e-12)


@pytest.mark.parametrize(
    ("kind", "power", "at_start", "at_quarter", "at_half", "before_end"),
    [
        ("linear", 3.0, 0.5, 0.4, 0.3, 0.104),  # power belongs to the polynomial alone
        ("constant", 3.0, 0.5, 0.5, 0.5, 0.5),
        ("cosine", 3.0, 0.5, 0.1 + 0.2 * (1 + math.sqrt(0.5)), 0.3, 0.1 + 0.2 * (1 - math.cos(math.pi / 100))),
        ("polynomial", 2.0, 0.5, 0.325, 0.2, 0.10004),
        ("polynomial", 0.5, 0.5, 0.1 + 0.4 * math.sqrt(0.75), 0.1 + 0.4 * math.sqrt(0.5), 0.14),
    ],
)
def test_by_hand(
    kind: Any, power: float, at_start: float, at_quarter: float, at_half: float, before_end: float
) -> None:
    """From 0.5 to 0.1 over 100 epochs."""
    config = AlphaConfig(start=0.5, end=0.1, kind=kind, power=power)
    got = [alpha_at(config, epoch, 100) for epoch in (0, 25, 50, 99)]
    assert got == pytest.approx([at_start, at_quarter, at_half, before_end], abs=1e-12)


@given(start=fractions, end=fractions, kind=kinds, power=st.floats(0.1, 10), epochs=st.integers(1, 300))
def test_stays_between_start_and_end(start: float, end: float, kind: Any, power: float, epochs: int) -> None:
    config = AlphaConfig(start=start, end=end, kind=kind, power=power)
    values = [alpha_at(config, epoch, epochs) for epoch in range(epochs)]
    assert values[0] == pytest.approx(start)
    assert all(min(start, end) - 1e-12 <= value <= max(start, end) + 1e-12 for value in values)
    steps = [after - before for before, after in itertools.pairwise(values)]
    assert all(step * (end - start) >= -1e-12 for step in steps)  # never away from the end
