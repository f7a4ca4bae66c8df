import pytest

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.methods import METHODS, load_objective
from u2pl_ray.config.overrides import load
from u2pl_ray.method.objective import Supervised


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_an_objective(name: str) -> None:
    assert issubclass(load_objective(name), Supervised)
    assert load("quickstart", [f"method.name={name}"]).method.traits is METHODS[name]


def test_an_unknown_method_is_one_line_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"method.name: .*did you mean 'u2pl'") as caught:
        load("quickstart", ["method.name=u2p"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", [2**32, -1])
def test_a_seed_beyond_its_range_is_refused(seed: int) -> None:
    with pytest.raises(UserError, match="seed"):
        load("quickstart", [f"seed={seed}"])


def test_a_warmup_of_the_whole_training_is_refused_with_what_to_do() -> None:
    with pytest.raises(UserError, match=r"warmup_epochs=2 leaves none of train.epochs=2 .*: use a shorter warm-up"):
        load("quickstart", ["train.epochs=2", "method.warmup_epochs=2"])
