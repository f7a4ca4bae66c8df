"""Every draw is a function of seed, name, step and image: switching a part off changes no other draw."""

import functools
from typing import Any

import pytest
import torch

from tests.train.conftest import tiny, without_timing
from u2pl_ray.train.loop import Worker
from u2pl_ray.train.session import LocalSession

DROPOUT = ["model.dropout=0.3"]  # DeepLabV3Plus has its own, 0.5, element by element


@functools.cache
def trained(*overrides: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What `train` gives, once."""
    return train(*overrides)


def train(*overrides: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    reports: list[dict[str, Any]] = []
    worker = Worker(tiny(*DROPOUT, *overrides), LocalSession(None, reports.append), torch.device("cpu"))
    worker.run()
    return reports, worker.state()


@pytest.mark.parametrize("normalization", ["group", "batch"])
def test_u2pl_without_its_term_is_pseudo_label_bit_for_bit(normalization: str) -> None:
    """Though it has a representation head with dropout, a memory bank and its diagnostics."""
    common = [f"model.normalization={normalization}", "method.alpha.start=0.3"]
    plain, without = trained(*common, "method.name=pseudo_label")
    zero, state = trained(*common, "method.name=u2pl", "method.contrastive.weight=0")
    assert len(plain) == 3
    for mine, other in zip(plain, zero, strict=True):
        shared = without_timing(mine)
        assert {"val/miou", "val/teacher/miou", "train/loss/unsupervised", "diag/gamma"} - {
            "diag/gamma"
        } <= shared.keys()
        differing = {name for name, value in shared.items() if other[name] != value}
        assert differing <= {"train/loss/contrastive"}
    for network in ("student", "teacher"):
        own, full = without[network], state[network]
        assert {name.split(".")[0] for name in full.keys() - own.keys()} == {"representation"}
        for name, value in own.items():
            assert torch.equal(full[name], value), (network, name)
    assert zero[-1]["train/loss/contrastive"] > 0.0  # it was computed, and weighed nothing


def test_the_term_has_an_effect_on_the_same_draws() -> None:
    common = ["model.normalization=batch", "method.alpha.start=0.3", "method.name=u2pl"]
    _, zero = trained(*common, "method.contrastive.weight=0")
    _, some = trained(*common)
    assert any(not torch.equal(some["student"][name], value) for name, value in zero["student"].items())


def test_supervised_epochs_are_the_same_for_every_method() -> None:
    names = ("supervised", "pseudo_label", "u2pl")
    ends = [
        trained("model.normalization=batch", "method.alpha.start=0.3", f"method.name={name}")[0][0] for name in names
    ]
    assert without_timing(ends[0]) == without_timing(ends[1])
    assert ends[2]["val/miou"] == ends[0]["val/miou"]
    assert ends[2]["train/loss/supervised"] == ends[0]["train/loss/supervised"]


def test_images_for_people_change_nothing() -> None:
    _, some = train("tracking.images=3", "train.epochs=2")
    _, none = train("tracking.images=0", "train.epochs=2")
    assert all(torch.equal(none["student"][name], value) for name, value in some["student"].items())


def test_what_others_draw_changes_nothing() -> None:
    """torch's global generator is in another state when the training is made."""
    _, first = train("train.epochs=2")
    torch.manual_seed(12345)
    torch.rand(7)
    _, second = train("train.epochs=2")
    assert all(torch.equal(second["student"][name], value) for name, value in first["student"].items())


@pytest.mark.parametrize(
    "seed", [*(pytest.param(it, marks=pytest.mark.slow) for it in (281_469_838, 300_000_000)), 2**32 - 1]
)
def test_large_seeds_train(seed: int) -> None:
    reports, _ = train(f"seed={seed}", "train.epochs=1", "method.warmup_epochs=0", "train.steps_per_epoch=1")
    assert reports[0]["train/loss/total"] > 0.0
