"""Parallel coordinates: only trials that are complete are coloured by their value."""

import optuna
import pytest

from u2pl_ray.analysis.figures.panel import BEST, QUIET
from u2pl_ray.analysis.figures.settings import _parallel


@pytest.mark.parametrize("sign", [1, -1])
def test_a_stopped_trial_above_the_best_is_grey_and_thin(sign: int) -> None:
    study = optuna.create_study(direction="maximize" if sign > 0 else "minimize")
    kind: dict[str, optuna.distributions.BaseDistribution] = {"x": optuna.distributions.FloatDistribution(0.0, 1.0)}
    for x, value in ((0.1, 0.3), (0.5, 0.9), (0.9, 0.6)):  # the second one was stopped with the highest value
        study.add_trial(optuna.trial.create_trial(params={"x": x}, distributions=kind, value=sign * value))
    figure = _parallel(study, ["x"], "val/miou", sign > 0, complete={0, 2})
    lines = {trace.hovertemplate[:4]: trace.line for trace in figure.data}
    assert lines["0001"].color == QUIET
    assert lines["0001"].width < min(lines["0000"].width, lines["0002"].width)
    best = tuple(int(BEST[place : place + 2], 16) for place in (1, 3, 5))
    assert lines["0002"].color == f"rgb{best}"
    assert lines["0000"].color not in (lines["0002"].color, QUIET)


def test_each_of_several_trials_with_one_value_has_its_own_line() -> None:
    study = optuna.create_study(direction="maximize")
    kind: dict[str, optuna.distributions.BaseDistribution] = {"x": optuna.distributions.FloatDistribution(0.0, 1.0)}
    for x, value in ((0.0, 0.5), (1.0, 0.7), (0.5, 0.5), (0.75, 0.5)):
        study.add_trial(optuna.trial.create_trial(params={"x": x}, distributions=kind, value=value))
    figure = _parallel(study, ["x"], "val/miou", True, complete={0, 1, 2, 3})
    places = {trace.hovertemplate[:4]: float(trace.y[1]) for trace in figure.data}
    assert places == pytest.approx({"0000": 0.0, "0001": 1.0, "0002": 0.5, "0003": 0.75})
