import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from u2pl_ray.method import info_nce as module
from u2pl_ray.method.info_nce import info_nce
from u2pl_ray.method.memory_bank import normalize_


def plain(
    representation: Tensor, pixel: Tensor, weight: Tensor, positives: Tensor, negatives: Tensor, temperature: float
) -> Tensor:
    """Anchor by anchor, with cosine similarity and cross entropy; negatives [A, N, D]."""
    width = representation.shape[3]
    total = representation.new_zeros(())
    for a, number in enumerate(pixel.tolist()):
        image, rest = divmod(number, representation.shape[2] * width)
        anchor = representation[image, :, rest // width, rest % width]
        others = torch.cat([positives[a : a + 1], negatives[a]])
        logits = torch.cosine_similarity(anchor.unsqueeze(0), others) / temperature
        total = total + weight[a] * F.cross_entropy(logits.unsqueeze(0), torch.zeros(1, dtype=torch.long))
    return total


def problem(anchors: int = 9, negatives: int = 5, dim: int = 6, seed: int = 0) -> tuple[Tensor, ...]:
    draws = torch.Generator().manual_seed(seed)
    representation = torch.randn(2, dim, 4, 3, generator=draws)
    pixel = torch.randint(24, (anchors,), generator=draws)
    weight = torch.rand(anchors, generator=draws)
    classes = torch.randint(3, (anchors,), generator=draws)
    positives = normalize_(torch.randn(3, dim, generator=draws))
    keys = normalize_(torch.randn(11, dim, generator=draws))
    rows = torch.randint(11, (anchors, negatives), generator=draws)
    return representation, pixel, weight, classes, positives, keys, rows


@pytest.mark.parametrize("temperature", [0.07, 0.5, 2.0])
@pytest.mark.parametrize("chunk", [1, 64, 1 << 22])
@pytest.mark.parametrize("in_place", [False, True])  # whether negatives are copied, or read where they are
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_loss_and_gradient_against_autograd(
    temperature: float, chunk: int, in_place: bool, layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK", chunk)
    if not in_place:
        monkeypatch.setattr(module, "_in_place", module._copied)
    representation, pixel, weight, classes, positives, keys, rows = problem()
    ours = representation.clone(memory_format=layout).requires_grad_()
    loss = info_nce(ours, pixel, weight, classes, positives, keys, rows, temperature)
    (3 * loss).backward()

    theirs = representation.double().requires_grad_()
    expected = plain(theirs, pixel, weight, positives[classes].double(), keys[rows].double(), temperature)
    (3 * expected).backward()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)
    assert ours.grad is not None
    assert theirs.grad is not None
    torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=1e-4, atol=2e-6)


def one_anchor(anchor: list[float], positive: list[float], negatives: list[list[float]]) -> tuple[float, Tensor]:
    representation = torch.tensor(anchor, dtype=torch.float32).view(1, 2, 1, 1).requires_grad_()
    keys = torch.tensor(negatives, dtype=torch.float32)
    rows = torch.arange(len(keys)).unsqueeze(0)
    zero, one = torch.zeros(1, dtype=torch.long), torch.ones(1)
    loss = info_nce(representation, zero, one, zero, torch.tensor([positive], dtype=torch.float32), keys, rows, 0.5)
    loss.backward()
    assert representation.grad is not None
    return loss.item(), representation.grad.flatten()


def test_by_hand_orthogonal_negatives() -> None:
    """cos to the positive 1, to three negatives 0: loss = ln(1 + 3 e^-2), whatever the anchor's length."""
    for length in (1.0, 5.0):
        loss, gradient = one_anchor([length, 0], [1, 0], [[0, 1], [0, 1], [0, -1]])
        assert loss == pytest.approx(math.log(1 + 3 * math.exp(-2)))
        # d/da: only the part across the anchor is left, (share of +y - share of -y) / tau / length.
        share = math.exp(-2) / (1 + 3 * math.exp(-2))
        torch.testing.assert_close(gradient, torch.tensor([0.0, share / 0.5 / length]))


def test_by_hand_indistinguishable() -> None:
    """All similarities equal: loss = ln(N + 1)."""
    loss, gradient = one_anchor([0, 2], [1, 0], [[1, 0]] * 4)
    assert loss == pytest.approx(math.log(5))
    torch.testing.assert_close(gradient, torch.zeros(2), atol=1e-7, rtol=0)


def test_by_hand_opposite_negative() -> None:
    loss, _ = one_anchor([1, 0], [1, 0], [[-1, 0]])
    assert loss == pytest.approx(math.log(1 + math.exp(-4)), abs=1e-6)


def test_weight_zero_and_no_anchor() -> None:
    representation, pixel, weight, classes, positives, keys, rows = problem()
    representation.requires_grad_()
    loss = info_nce(representation, pixel, 0 * weight, classes, positives, keys, rows, 0.5)
    loss.backward()
    assert loss.item() == 0
    assert representation.grad is not None
    assert not representation.grad.any()
    loss = info_nce(representation, pixel[:0], weight[:0], classes[:0], positives, keys, rows[:0], 0.5)
    loss.backward()
    assert loss.item() == 0
    assert not representation.grad.any()


def test_a_zero_feature_is_finite() -> None:
    loss, gradient = one_anchor([0, 0], [1, 0], [[0, 1]])
    assert loss == pytest.approx(math.log(2))
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_features_and_keys(dtype: torch.dtype) -> None:
    """Computed in float32: exactly the loss of the rounded features and keys; the gradient is the features' dtype."""
    representation, pixel, weight, classes, positives, keys, rows = problem()
    half = representation.to(dtype).requires_grad_()
    keys = keys.bfloat16()
    loss = info_nce(half, pixel, weight, classes, positives, keys, rows, 0.5)
    loss.backward()
    exact = half.detach().float().requires_grad_()
    expected = info_nce(exact, pixel, weight, classes, positives, keys.float(), rows, 0.5)
    expected.backward()
    assert loss.dtype is torch.float32
    torch.testing.assert_close(loss, expected)
    assert half.grad is not None
    assert exact.grad is not None
    torch.testing.assert_close(half.grad, exact.grad.to(dtype))


@pytest.mark.parametrize("keys_held", [1, 4, 5, 6])
def test_more_negatives_than_keys(keys_held: int) -> None:
    """A bank may hold fewer keys than an anchor draws: they are drawn with replacement."""
    representation, pixel, weight, classes, positives, keys, rows = problem(negatives=5)
    few, rows = keys[:keys_held].contiguous(), rows % keys_held
    found = info_nce(representation, pixel, weight, classes, positives, few, rows, 0.5)
    padded = torch.cat([few, torch.randn(50, few.shape[1])])  # the same draws from a longer bank
    expected = info_nce(representation, pixel, weight, classes, positives, padded, rows, 0.5)
    torch.testing.assert_close(found, expected)
