"""Nothing in a step waits for the device: by shapes alone everywhere, and by CUDA's own word where there is a GPU."""

import contextlib
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.method import tiny
from u2pl_ray.method import contrastive, mixing, strong_view
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.objective import build_objective
from u2pl_ray.method.types import Batch

CASES: dict[str, dict[str, Any]] = {
    "supervised_ohem": {"name": "supervised", "supervised_loss": "ohem", "ohem": {"min_kept": 900}},
    "pseudo_label": {"name": "pseudo_label", "mixing": {"kind": "cutmix"}},
    "u2pl_classmix": {"name": "u2pl", "mixing": {"kind": "classmix"}},
    "u2pl_cutout": {"name": "u2pl", "mixing": {"kind": "cutout"}},
    "fixmatch": {"name": "fixmatch", "contrastive": {"use": True, "low_rank": 2, "high_rank": 5}},
    "unimatch": {"name": "unimatch"},
    "everything": {
        "name": "u2pl",
        "strong_view": {"use": True},
        "reliability": {"judged_on": "weak", "confidence": 0.5, "per_class": True},
        "balance": {"alignment": 1.0, "margin": 1.0, "weight_power": 0.5},
    },
    "u2pl_all_keys": {"name": "u2pl", "memory_bank": {"capacity": 40, "push_cap": None, "key_dtype": "bfloat16"}},
}


def on(device: torch.device, batch: Batch) -> Batch:
    def move(tensor: Tensor | None) -> Tensor:
        assert tensor is not None
        return tensor.to(device)

    valid = torch.ones_like(batch.unlabeled_labels, dtype=torch.bool)
    tensors = batch.labeled_images, batch.labels, batch.unlabeled_images, batch.unlabeled_labels, valid
    return Batch(*map(move, tensors))


def step(case: str, device: torch.device, steps: int = 1, sync_mode: str | None = None) -> None:
    student, teacher = (network.to(device) for network in tiny.networks())
    config = tiny.config(**CASES[case])
    objective = build_objective(config, tiny.CLASSES, tiny.DIM, 0, Collectives(device), device)
    batch = on(device, tiny.batch())
    for index in range(steps):
        if index and sync_mode:
            torch.cuda.set_sync_debug_mode(sync_mode)
        try:
            losses, _ = objective(student, teacher, batch, tiny.clock(step=index))
            losses.total.backward()
        finally:
            if sync_mode:
                torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("case", CASES)
def test_shapes_do_not_depend_on_values(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors on `meta` have shapes and no values: `.item()`, `nonzero` and the like raise."""
    for module in (contrastive, mixing, strong_view):
        monkeypatch.setattr(module, "generator", lambda *_: None)  # there is none for meta
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # nor this
    step(case, torch.device("meta"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("case", CASES)
def test_cuda_is_never_synchronised(case: str) -> None:
    """The first step may: it loads kernels."""
    step(case, torch.device("cuda", 0), steps=3, sync_mode="error")
