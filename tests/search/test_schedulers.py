from pathlib import Path
from typing import Any

import pytest
from optuna.pruners import MedianPruner, NopPruner, PercentilePruner

from u2pl_ray.config import overrides
from u2pl_ray.config.errors import UserError
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.schedulers.registry import SCHEDULERS, SchedulerChoice, from_early_terminate
from u2pl_ray.search.schedulers.successive_halving import RungPruner
from u2pl_ray.search.space.file import parse_space


@pytest.mark.parametrize(("epochs", "rungs"), [(80, [40]), (20, [10]), (9, [5]), (5, [3]), (1, [])])
def test_default_grace_is_half_of_the_epochs(epochs: int, rungs: list[int]) -> None:
    pruner = SchedulerChoice().build(epochs)
    assert isinstance(pruner, RungPruner)
    assert pruner.rungs(0, epochs) == rungs


def test_by_name() -> None:
    assert isinstance(SchedulerChoice("none").build(9), NopPruner)
    assert isinstance(SchedulerChoice("median").build(9), MedianPruner)
    hyperband = SchedulerChoice("hyperband").build(80)
    assert isinstance(hyperband, RungPruner)
    assert [hyperband.rungs(number, 80) for number in range(hyperband.brackets)] == [[16, 48], [48]]


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("ash", {}, ["scheduler 'ash'", "did you mean 'asha'"]),
        ("asha", {"gracee": 1}, ["no option 'gracee'", "did you mean 'grace'"]),
        ("none", {"grace": 1}, ["it has none"]),
        ("asha", {"grace": 0}, ["grace 0", "from 1 on"]),
        ("asha", {"factor": 1}, ["factor 1", "from 2 on"]),
        ("asha", {"factor": 2.5}, ["factor 2.5"]),
        ("pbt", {"quantile": 0.7}, ["quantile 0.7", "at most 0.5"]),
        ("pbt", {"perturbation": 0}, ["perturbation 0", "above 0"]),
        ("pbt", {"interval": 0}, ["interval 0", "from 1 on"]),
    ],
)
def test_refused(name: str, options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        SchedulerChoice(name, options).build(20)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("body", "options"),
    [
        ({"type": "hyperband", "min_iter": 3}, {"grace": 3, "factor": 3}),
        ({"type": "hyperband", "min_iter": 3, "eta": 2}, {"grace": 3, "factor": 2}),
        ({"type": "hyperband", "max_iter": 27, "s": 2}, {"grace": 3, "factor": 3}),
    ],
)
def test_early_terminate(body: dict[str, Any], options: dict[str, int]) -> None:
    assert from_early_terminate(body, 27, "space.yaml") == SchedulerChoice("asha", options)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"type": "envelope"}, ["type 'envelope' is not supported"]),
        ({"type": "hyperband"}, ["give min_iter, or max_iter and s"]),
        ({"type": "hyperband", "min_iter": 3, "s": 2}, ["either min_iter"]),
        ({"type": "hyperband", "min_itr": 3}, ["unknown key 'min_itr'", "did you mean 'min_iter'"]),
        ({"type": "hyperband", "min_iter": 0}, ["min_iter 0"]),
        ({"type": "hyperband", "min_iter": 3, "eta": 1}, ["eta 1"]),
        ({"type": "hyperband", "min_iter": 30}, ["30 epochs is never reached", "train.epochs=27"]),
    ],
)
def test_early_terminate_refused(body: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        from_early_terminate(body, 27, "space.yaml")
    assert str(caught.value).startswith("space.yaml: early_terminate: ")
    for word in words:
        assert word in str(caught.value)


def test_the_first_rung_comes_after_the_warmup() -> None:
    """Until then all trials are one and the same training."""
    assert SchedulerChoice().after(4, 14).build(14).rungs(0, 14) == [9]  # type: ignore[attr-defined]
    assert SchedulerChoice("hyperband").after(2, 20).build(20).rungs(1, 20) == [14]  # type: ignore[attr-defined]
    assert SchedulerChoice("asha", {"grace": 3}).after(4, 14).build(14).rungs(0, 14) == [7, 13]  # type: ignore[attr-defined]
    assert SchedulerChoice("none").after(4, 14) == SchedulerChoice("none")
    assert SchedulerChoice().after(0, 14) == SchedulerChoice()


def test_a_scheduler_without_a_warmup_option_is_not_given_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCHEDULERS, "percentile", (lambda epochs: PercentilePruner(25.0), ()))
    assert isinstance(SchedulerChoice("percentile").after(4, 14).build(14), PercentilePruner)


def test_sizes_of_the_network_are_not_perturbed(tmp_path: Path) -> None:
    """A fork goes on with its parent's tensors."""
    sizes = "parameters: {model.representation_dim: {min: 8, max: 64}}"
    with pytest.raises(UserError, match=r"--scheduler pbt: model\.representation_dim changes the network"):
        plan_search(
            overrides.load("quickstart"), parse_space(sizes, "s"), name="a", trials=4, storage_path=tmp_path,
            scheduler="pbt", sampler="random", seed=1,
        )  # fmt: skip
