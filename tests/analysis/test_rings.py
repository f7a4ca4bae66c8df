import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from u2pl_ray.analysis.figures.settings import _slice

KINDS = ["linear", "cosine", "constant"]


@pytest.mark.parametrize("name", ["kind", "rate"])
@pytest.mark.parametrize("best", [0, 2])
def test_the_ring_is_on_the_dot_of_the_trial_that_is_called_best(name: str, best: int) -> None:
    """Not of the largest value: that may be of a trial that was stopped early."""
    study = optuna.create_study(direction="maximize")
    space = {"kind": CategoricalDistribution(KINDS), "rate": FloatDistribution(0.0, 1.0)}
    for kind, rate, value in (("cosine", 0.3, 0.5), ("constant", 0.1, 0.9), ("linear", 0.7, 0.6)):
        study.add_trial(
            optuna.trial.create_trial(params={"kind": kind, "rate": rate}, distributions=space, value=value)
        )
    dots, ring = _slice(study, name, "mIoU", best).data
    place = list(dots.marker.color).index(best)
    assert (ring.x[0], ring.y[0]) == (dots.x[place], study.trials[best].value)
    assert str(ring.x[0]).strip("'") == str(study.trials[best].params[name])  # Optuna quotes categories
    assert len(_slice(study, name, "mIoU", None).data) == 1
