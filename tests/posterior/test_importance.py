"""Importances: the analytic indices of a known function, nothing where there is nothing, less known from less."""

from typing import Any

import numpy as np
import pytest

from u2pl_ray.config.errors import UserError
from u2pl_ray.posterior import Run, fit, importances


def study(count: int, truth: Any, noise: float, dimensions: int = 4, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    points = {str(i): rng.random(dimensions).tolist() for i in range(count)}
    runs = [Run(s, n, {1.0: truth(p) + noise * rng.normal()}) for s, p in points.items() for n in range(2)]
    return fit(runs), points


def test_indices_of_a_linear_function() -> None:
    """Of 3 x0 + 1.5 x2 the parts of the variance are 9 : 2.25, with no interaction."""
    posterior, points = study(60, lambda p: 3 * p[0] + 1.5 * p[2], 0.2)
    found = importances(posterior, points, [0] * 4)
    for j, share in ((0, 0.8), (2, 0.2)):
        one = found.parameters[j]
        assert one.low - 0.02 < share < one.high + 0.02
        assert one.mean == pytest.approx(share, abs=0.08)
        assert one.matters > 0.9
        assert not one.greyed
    for j in (1, 3):
        assert found.parameters[j].mean < 0.05
        assert found.parameters[j].greyed
    assert found.anything > 0.99
    assert found == importances(posterior, points, [0] * 4)


def test_all_greyed_where_there_is_nothing_to_explain() -> None:
    posterior, points = study(40, lambda p: 0.0, 1.0)
    found = importances(posterior, points, [0] * 4)
    assert found.anything < 0.75
    assert found.explained < 0.5
    assert all(one.greyed for one in found.parameters)


def test_less_is_known_from_less() -> None:
    widths = []
    for count, noise in ((60, 0.2), (12, 1.0)):
        posterior, points = study(count, lambda p: 3 * p[0] + 1.5 * p[2], noise)
        one = importances(posterior, points, [0] * 4).parameters[0]
        widths.append(one.high - one.low)
    assert widths[1] > 1.5 * widths[0]


def test_a_choice_that_matters() -> None:
    posterior, points = study(40, lambda p: 2.0 * (p[1] >= 2 / 3), 0.3, dimensions=2)
    first, second = importances(posterior, points, [0, 3]).parameters
    assert second.mean > 0.8
    assert first.greyed


def test_refuses_settings_without_a_place() -> None:
    posterior, points = study(5, lambda p: 0.0, 1.0)
    with pytest.raises(UserError, match="place"):
        importances(posterior, {"0": points["0"]}, [0] * 4)
