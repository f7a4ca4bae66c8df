import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.method import golden
from u2pl_ray.config.schema import ContrastiveConfig, MemoryBankConfig
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.contrastive import ContrastiveLoss
from u2pl_ray.method.types import Clock

CPU = torch.device("cpu")


class ScriptedLoss(ContrastiveLoss):
    """Anchors and negatives are the given ones."""

    anchors: Tensor
    negatives: Tensor

    def draw_anchors(self, counts: Tensor, step: int) -> Tensor:
        return self.anchors

    def draw_negatives(self, fill: Tensor, step: int) -> Tensor:
        return self.negatives


def golden_loss(case: golden.Golden, kind: type[ContrastiveLoss] = ScriptedLoss, **bank: Any) -> Any:
    config = case.config
    background, capacity = config["queue_sizes"][:2]
    return kind(
        ContrastiveConfig(
            temperature=config["temperature"],
            anchors=config["num_queries"],
            negatives=config["num_negatives"],
            low_rank=config["low_rank"],
            high_rank=config["high_rank"],
            anchor_threshold=config["current_class_threshold"],
        ),
        MemoryBankConfig(
            **{"capacity": capacity, "background_capacity": background, "push_cap": None, **bank}
        ),
        config["num_classes"],
        config["dim"],
        0,
        Collectives(CPU),
        CPU,
    )


def golden_step(
    loss: ContrastiveLoss, case: golden.Golden, s: int
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    n_labeled = case.config["n_labeled"]
    rep = case.tensor(s, "rep").requires_grad_()
    maps = loss.local_maps(case.prob(s), case.tensor(s, "label_small"), n_labeled)
    reliable, unreliable = case.masks(s)
    value, stats = loss(
        rep, case.tensor(s, "rep_teacher"), n_labeled, maps, reliable, unreliable, Clock(0, 1, s)
    )
    value.backward()
    return value.detach(), rep.grad, stats.shared


@pytest.mark.parametrize("name", golden.CASES)
def test_golden_keys_loss_and_gradient(name: str) -> None:
    case = golden.load(name)
    loss = golden_loss(case)
    c, m, n = (case.config[key] for key in ("num_classes", "num_queries", "num_negatives"))
    for s in case.steps:
        loss.anchors = torch.zeros(c, m, dtype=torch.int64)
        loss.negatives = torch.zeros(c, m, n, dtype=torch.int64)
        if case.has(s, "fix_term_anchor_class"):
            classes = case.tensor(s, "fix_term_anchor_class").long()
            loss.anchors[classes] = case.tensor(s, "fix_anchor_draw").long()
            loss.negatives[classes] = case.tensor(s, "fix_neg_draw").long()
        value, grad, shared = golden_step(loss, case, s)

        torch.testing.assert_close(value, case.tensor(s, "fix_loss"), rtol=1e-5, atol=1e-7)
        capacity = torch.tensor(case.config["queue_sizes"])
        counts = case.tensor(s, "fix_key_count")
        torch.testing.assert_close(shared["bank/pushed"], torch.minimum(counts, capacity).float())
        torch.testing.assert_close(loss.bank.fill, case.tensor(s, "fix_queue_count").long())
        if case.has(s, "fix_grad_rep"):
            torch.testing.assert_close(grad, case.tensor(s, "fix_grad_rep"), rtol=0, atol=1e-7)
            queue = torch.nn.functional.normalize(case.tensor(s, "fix_queue"), dim=1, eps=1e-8)
            torch.testing.assert_close(loss.bank.state_dict()["keys"], queue, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["a_small_5c", "c_overflow_5c", "e_missing_ignore", "f_few_anchors"])
def test_golden_distribution_of_own_draws(name: str) -> None:
    """The draws are ours: the mean loss agrees with the golden mean within four standard errors."""
    case = golden.load(name)
    draws = 60
    mean, std, n = (float(case.numpy(0, f"fix_loss_{key}")) for key in ("mean", "std", "n"))
    values = []
    for seed in range(draws):
        loss = golden_loss(case, ContrastiveLoss)
        loss.seed = seed
        values.append(float(golden_step(loss, case, 0)[0]))
    assert abs(np.mean(values) - mean) < 4 * std * math.sqrt(1 / draws + 1 / n)
    assert np.std(values) == pytest.approx(std, rel=0.5)
