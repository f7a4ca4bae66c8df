"""A class that is there is never shown as nothing."""

import pytest

from u2pl_ray.data.percent import percent


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0.00"), (1e-9, "<0.01"), (4.9e-5, "<0.01"), (5.1e-5, "0.01"), (0.1234, "12.34"), (1, "100.00")],
)
def test_small_shares(share: float, text: str) -> None:
    assert percent(share) == text
