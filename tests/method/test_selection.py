import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.method import golden
from u2pl_ray.method import pixels
from u2pl_ray.method.selection import (
    Candidates,
    Share,
    kth_largest,
    one_hot,
    pack_bits,
    rank_window,
    unpack_bits,
)

few_levels = st.sampled_from([0.0, 0.125, 0.25, 0.5, 1.0])  # so that ties are common


def brute_rank(prob: list[float], c: int) -> int:
    """The number of classes with a larger probability."""
    return sum(other > prob[c] for other in prob)


@given(values=st.lists(few_levels, min_size=1, max_size=20), k=st.integers(1, 22))
def test_kth_largest(values: list[float], k: int) -> None:
    expected = sorted(values, reverse=True)[k - 1] if k <= len(values) else -torch.inf
    assert float(kth_largest(torch.tensor(values).view(1, -1, 1), k)) == expected


@pytest.mark.parametrize("static", [False, True])
def test_kth_largest_streams_and_sorts_alike(static: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "static_shapes", lambda _: static)
    prob = torch.randn(2, 40, 7, 5)
    ordered = prob.sort(1, descending=True).values
    for k in range(1, 41):
        assert torch.equal(kth_largest(prob, k), ordered[:, k - 1])


@given(data=st.data(), classes=st.integers(2, 6), low=st.integers(1, 6), more=st.integers(1, 6))
def test_rank_window_by_pixel(data: st.DataObject, classes: int, low: int, more: int) -> None:
    """Against the definition, pixel by pixel: ties, few classes, windows that reach beyond the classes."""
    high = low + more
    prob = data.draw(st.lists(st.lists(few_levels, min_size=classes, max_size=classes), min_size=4, max_size=4))
    labels = st.sampled_from([*range(classes), 255])
    label = data.draw(st.lists(labels, min_size=4, max_size=4))
    shaped = torch.tensor(prob).view(2, 2, classes).transpose(1, 2).unsqueeze(3)  # 2 images of 2 x 1 pixels
    window = rank_window(shaped, torch.tensor(label, dtype=torch.uint8).view(2, 2, 1), 1, low, high)
    for pixel in range(4):
        for c in range(classes):
            rank = brute_rank(prob[pixel], c)
            confusion = label[pixel] != c and rank < low and prob[pixel][c] < 1
            unlikely = low <= rank < high
            assert bool(window[pixel // 2, c, pixel % 2, 0]) == (confusion if pixel < 2 else unlikely)


def test_rank_window_by_hand() -> None:
    """p = (0.1, 0.5, 0.15, 0.25): ranks 3, 0, 2, 1."""
    prob = torch.tensor([0.1, 0.5, 0.15, 0.25]).view(1, 4, 1, 1).repeat(2, 1, 1, 1)
    label = torch.tensor([3, 1], dtype=torch.uint8).view(2, 1, 1)
    labeled, unlabeled = rank_window(prob, label, 1, 2, 3).flatten(1)
    assert labeled.tolist() == [False, True, False, False]  # confused with class 1; class 3 is right
    assert unlabeled.tolist() == [False, False, True, False]  # rank 2 alone
    assert rank_window(prob, label, 1, 3, 20)[1].flatten().tolist() == [True, False, False, False]


def test_a_window_beyond_the_classes_is_empty() -> None:
    prob = torch.rand(2, 3, 4, 4).softmax(1)
    window = rank_window(prob, torch.zeros(2, 4, 4, dtype=torch.uint8), 0, 3, 20)
    assert not window.any()


@pytest.mark.parametrize("case", golden.CASES)
def test_golden_keys(case: str) -> None:
    data = golden.load(case)
    classes, n_labeled = data.config["num_classes"], data.config["n_labeled"]
    for step in data.steps:
        label = data.tensor(step, "label_small")
        ranks = data.config["low_rank"], data.config["high_rank"]
        window = rank_window(data.prob(step), label, n_labeled, *ranks)
        mask = (window & data.masks(step)[1].unsqueeze(1)).flatten(2)
        keys = Candidates(mask, Share(n_labeled, data.config["n_unlabeled"]))
        assert torch.equal(keys.counts, data.tensor(step, "fix_key_count").long())
        wanted, position = every(keys.counts)
        pixel, owned = keys.pick(wanted, position)
        assert owned.all()
        assert torch.equal(pixel, data.tensor(step, "fix_key_pixel").long())
        assert len(keys.counts) == classes


@pytest.mark.parametrize("case", golden.CASES)
def test_golden_anchors(case: str) -> None:
    data = golden.load(case)
    config = data.config
    for step in data.steps:
        if not data.has(step, "fix_term_anchor_class"):
            continue
        label, reliable = data.tensor(step, "label_small"), data.masks(step)[0]
        own = data.prob(step).gather(1, label.long().clamp_max(config["num_classes"] - 1).unsqueeze(1)).squeeze(1)
        sure = reliable & (own > config["current_class_threshold"])
        anchors = Candidates(
            one_hot(label, sure, config["num_classes"]).flatten(2), Share(config["n_labeled"], config["n_unlabeled"])
        )
        classes = data.tensor(step, "fix_term_anchor_class").long()
        assert torch.equal(anchors.counts[classes], data.tensor(step, "fix_anchor_list_len").long())
        draw = data.tensor(step, "fix_anchor_draw").long()
        pixel, _ = anchors.pick(classes.repeat_interleave(draw.shape[1]), draw.flatten())
        assert torch.equal(pixel.view_as(draw), data.tensor(step, "fix_anchor_pixel").long())


@pytest.mark.parametrize("classes", [1, 2, 7, 8, 9, 16, 19, 21, 150])
def test_pack_and_unpack(classes: int) -> None:
    mask = torch.rand(3, classes, 4, 5) < 0.4
    packed = pack_bits(mask)
    assert packed.shape == (3, -(-classes // 8), 4, 5)
    assert packed.dtype is torch.uint8
    assert torch.equal(unpack_bits(packed, classes), mask)
    for c in range(classes):
        assert torch.equal((packed[:, c // 8] >> (c % 8)) & 1 == 1, mask[:, c])


def test_one_hot() -> None:
    label = torch.tensor([[0, 2, 255, 1]], dtype=torch.uint8)
    mask = torch.tensor([[True, True, True, False]])
    expected = [[[True, False, False, False], [False] * 4, [False, True, False, False]]]
    assert one_hot(label, mask, 3).tolist() == expected


def every(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Class and number of every candidate."""
    classes = torch.repeat_interleave(counts)
    return classes, torch.cat([torch.arange(int(count)) for count in counts])


@pytest.mark.parametrize("static", [False, True])
@given(
    workers=st.sampled_from([1, 2, 3]),
    labeled=st.integers(0, 2),
    unlabeled=st.integers(0, 2),
    density=st.sampled_from([0.0, 0.2, 1.0]),
    seed=st.integers(0, 99),
)
def test_every_candidate_is_found_by_its_one_owner(
    static: bool, workers: int, labeled: int, unlabeled: int, density: float, seed: int
) -> None:
    """However the images are shared out, candidate j of class c is one and the same pixel of the global batch."""
    if labeled + unlabeled == 0:
        return
    images = workers * (labeled + unlabeled)
    classes, area = 3, 5
    mask = torch.rand(images, classes, area, generator=torch.Generator().manual_seed(seed)) < density
    expected = [mask[:, c].flatten().nonzero().squeeze(1).tolist() for c in range(classes)]
    found: dict[tuple[int, int], int] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pixels, "static_shapes", lambda _: static)
        for rank in range(workers):
            share = Share(labeled, unlabeled, rank, workers)
            candidates = Candidates(mask, share)
            assert candidates.counts.tolist() == [len(pixels_) for pixels_ in expected]
            own = share.of(torch.arange(images)).tolist()
            assert torch.equal(candidates.own, mask[own])
            wanted, position = every(candidates.counts)
            for c, j, pixel, owned in zip(wanted, position, *candidates.pick(wanted, position), strict=True):
                assert 0 <= int(pixel) < max(1, len(own) * area)
                if owned:
                    key = int(c), int(j)
                    assert key not in found
                    found[key] = own[int(pixel) // area] * area + int(pixel) % area
            beyond = candidates.pick(torch.arange(classes), candidates.counts)
            assert not beyond[1].any()
    assert found == {(c, j): pixel for c in range(classes) for j, pixel in enumerate(expected[c])}


def test_share_of_the_global_order() -> None:
    """Two workers with 2 + 1 images each: labeled 0 1 | 2 3, unlabeled 4 | 5."""
    images = torch.arange(6)
    assert Share(2, 1, 0, 2).of(images).tolist() == [0, 1, 4]
    assert Share(2, 1, 1, 2).of(images).tolist() == [2, 3, 5]
    assert Share(2, 1, 1, 2).first == (2, 5)
