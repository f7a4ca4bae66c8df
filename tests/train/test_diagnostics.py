"""Figures that need labels of unlabeled images are absent where there are none, and never 0."""

import pytest
import torch
import torch.nn.functional as F

from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.statistics import RELIABLE, RIGHT, UNKNOWN, UNRELIABLE, WRONG
from u2pl_ray.method.types import Losses, Stats
from u2pl_ray.train.diagnostics import Diagnostics

CPU = torch.device("cpu")
CLASSES = ("a", "b")


@pytest.mark.parametrize("labels", [True, False])
def test_false_negatives_are_told_where_unlabeled_images_have_labels(labels: bool) -> None:
    pixels = torch.zeros(2, 2, 3, 32, dtype=torch.int64)
    pixels[0, RELIABLE, RIGHT if labels else UNKNOWN, 0] = 7
    keys = {"negatives/known": torch.tensor([4.0, 0.0]), "negatives/false": torch.tensor([0.0, 0.0])}  # labeled pixels
    one, by_class = torch.ones(()), torch.ones(2)
    shared = dict.fromkeys(("bank/fill", "bank/pushed", "bank/key_age", "anchor/none", "negative/none"), by_class)
    stats = Stats(
        {"pixels": pixels, "entropy": torch.zeros((), dtype=torch.float64), **keys},
        {"alpha": one, "gamma": one, "steps": one, **shared},
    )
    diagnostics = Diagnostics(CLASSES, CPU)
    diagnostics.add(Losses(*F.one_hot(torch.tensor(0), 4).float().unbind()), stats)
    found = diagnostics.read(Collectives(CPU))
    told = {name for name in found if "false_rate" in name or "accuracy" in name or "hist_" in name}
    assert bool(told) == labels
    if labels:
        assert {"diag/negatives/false_rate", "diag/negatives/false_rate/a"} <= told
        assert "diag/negatives/false_rate/b" not in told
    assert "diag/bank/fill/a" in found


def test_which_classes_the_reliable_pseudo_labels_are_right_about() -> None:
    pixels = torch.zeros(2, 2, 3, 32, dtype=torch.int64)
    pixels[0, RELIABLE, RIGHT, :3] = 2
    pixels[0, RELIABLE, WRONG, 5] = 2
    pixels[0, RELIABLE, UNKNOWN, 5] = 9
    pixels[1, UNRELIABLE, RIGHT, 30] = 4
    one = torch.ones(())
    stats = Stats(
        {"pixels": pixels, "entropy": torch.zeros((), dtype=torch.float64)}, {"alpha": one, "gamma": one, "steps": one}
    )
    diagnostics = Diagnostics(CLASSES, CPU)
    diagnostics.add(Losses(one, one, one, one), stats)
    found = diagnostics.read(Collectives(CPU))
    assert found["diag/pseudo_label/accuracy_reliable"] == 0.75
    assert found["diag/pseudo_label/accuracy_reliable/a"] == 0.75
    assert "diag/pseudo_label/accuracy_reliable/b" not in found  # none is reliable
