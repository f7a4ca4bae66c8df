from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from u2pl_ray.config.method import MixingConfig
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.mixing import mix

CPU = torch.device("cpu")
KINDS = ["cutmix", "classmix", "cutout"]

kinds = st.sampled_from(KINDS)
seeds = st.integers(0, 10_000)
sizes = st.tuples(st.integers(2, 17), st.integers(2, 17))


def batch(count: int, size: tuple[int, int], seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Images whose every pixel is its own number (from 1), pseudo-labels of which some are 255, and these numbers."""
    numbers = torch.arange(1, count * size[0] * size[1] + 1).view(count, *size)
    images = torch.stack([numbers, -numbers, 2 * numbers], 1).float()
    draws = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 6, numbers.shape, generator=draws, dtype=torch.uint8)
    labels[torch.rand(labels.shape, generator=draws) < 0.1] = 255
    return images, labels, numbers


def mixed(
    kind: Any, images: Tensor, labels: Tensor, *companions: Tensor, probability: float = 0.5, **where: Any
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    place: dict[str, Any] = {"seed": 3, "step": 5, "collectives": Collectives(CPU)} | where
    return mix(MixingConfig(kind=kind, probability=probability), images, labels, companions, **place)


@given(kind=kinds, size=sizes, pairs=st.integers(1, 3), seed=seeds, probability=st.sampled_from([0.0, 0.5, 1.0]))
def test_labels_follow_their_pixels(
    kind: str, size: tuple[int, int], pairs: int, seed: int, probability: float
) -> None:
    images, labels, numbers = batch(2 * pairs, size, seed)
    new_images, new_labels, (new_numbers, wide) = mixed(
        kind, images, labels, numbers, labels.long(), probability=probability, seed=seed
    )
    assert torch.equal(new_images[:, 1], -new_images[:, 0])
    assert torch.equal(new_images[:, 2], 2 * new_images[:, 0])
    assert torch.equal(new_labels.long(), wide)
    assert new_labels.dtype == torch.uint8
    came_from = new_images[:, 0].long()
    kept = came_from != 0
    if kind == "cutout":
        assert (new_labels[~kept] == 255).all()
        assert (new_numbers[~kept] == 255).all()
    else:
        assert kept.all()
    assert torch.equal(new_numbers[kept], came_from[kept])
    assert torch.equal(new_labels[kept], labels.flatten()[came_from[kept] - 1])
    # A pixel stays in its place, and comes from its own image or the partner.
    area = size[0] * size[1]
    assert torch.equal(((came_from - 1) % area)[kept], ((numbers - 1) % area)[kept])
    own, source = (numbers - 1) // area, (came_from - 1) // area
    assert ((source == own) | (source == (own ^ 1)))[kept].all()
    if probability == 0.0:
        assert torch.equal(came_from, numbers)


@given(kind=kinds, seed=seeds, world_size=st.sampled_from([2, 3, 4]))
def test_workers_make_together_what_one_makes_alone(kind: str, seed: int, world_size: int) -> None:
    images, labels, numbers = batch(24, (6, 5), seed)
    alone = mixed(kind, images, labels, numbers, seed=seed)
    share = 24 // world_size
    parts = [
        mixed(
            kind, *(tensor[rank * share :][:share] for tensor in (images, labels, numbers)),
            seed=seed, collectives=Collectives(CPU, rank, world_size),
        )
        for rank in range(world_size)
    ]  # fmt: skip
    assert torch.equal(torch.cat([part[0] for part in parts]), alone[0])
    assert torch.equal(torch.cat([part[1] for part in parts]), alone[1])
    assert torch.equal(torch.cat([part[2][0] for part in parts]), alone[2][0])


@pytest.mark.parametrize("kind", KINDS)
def test_input_is_left_alone(kind: str) -> None:
    tensors = batch(4, (8, 8))
    before = [tensor.clone() for tensor in tensors]
    mixed(kind, *tensors, probability=1.0)
    assert all(torch.equal(tensor, old) for tensor, old in zip(tensors, before, strict=True))


def test_none_returns_the_batch() -> None:
    images, labels, numbers = batch(3, (4, 4))
    new_images, new_labels, (new_numbers,) = mixed("none", images, labels, numbers, probability=1.0)
    assert new_images is images
    assert new_labels is labels
    assert new_numbers is numbers


@pytest.mark.parametrize("kind", ["cutmix", "classmix"])
def test_pairs_need_an_even_number(kind: str) -> None:
    images, labels, _ = batch(3, (4, 4))
    with pytest.raises(ValueError, match="pairs: got 3 images"):
        mixed(kind, images, labels)


@pytest.mark.parametrize("kind", ["cutmix", "cutout"])
@pytest.mark.parametrize("size", [(2, 2), (3, 9), (64, 64), (33, 48)])
def test_a_box_is_a_rectangle_of_half_the_area(kind: str, size: tuple[int, int]) -> None:
    h, w = size
    images, labels, numbers = batch(40, size)
    came_from = mixed(kind, images, labels, probability=1.0)[0][:, 0].long()
    widths = []
    for changed in came_from != numbers:
        rows, columns = changed.any(1), changed.any(0)
        assert torch.equal(changed, rows.unsqueeze(1) & columns.unsqueeze(0))
        for side in (rows, columns):  # consecutive
            where = side.nonzero().flatten()
            assert where[-1] - where[0] + 1 == len(where)
        assert w // 2 <= columns.sum() <= w
        assert rows.sum() == round(h * w / 2 / int(columns.sum()))
        widths.append(int(columns.sum()))
    if w > 30:
        assert len(set(widths)) > 10


def test_boxes_reach_every_pixel_and_are_uniform() -> None:
    """Width uniform in {w/2 .. w}, position uniform: by symmetry the mean of a box is the centre."""
    size = (16, 16)
    images, labels, numbers = batch(2, size)
    seen, centres = torch.zeros(size), []
    for step in range(500):
        came_from = mixed("cutout", images, labels, probability=1.0, step=step)[0][:, 0].long()
        for changed in came_from != numbers:
            seen += changed
            centres.append(changed.nonzero().float().mean(0))
    assert seen.min() > 0
    spread = torch.stack(centres)
    error = (spread.mean(0) - 7.5).abs() / (spread.std(0) / len(centres) ** 0.5)
    assert (error < 4).all()


@pytest.mark.parametrize(("kind", "unit"), [("cutmix", 2), ("classmix", 2), ("cutout", 1)])
def test_probability_is_per_pair_or_image(kind: str, unit: int) -> None:
    images, labels, numbers = batch(400, (6, 6))
    came_from = mixed(kind, images, labels, probability=0.3)[0][:, 0].long()
    changed = (came_from != numbers).flatten(1).any(1).view(-1, unit)
    assert torch.equal(changed.any(1), changed.all(1))
    share = changed.any(1).float().mean().item()
    assert abs(share - 0.3) < 4 * (0.21 / (400 / unit)) ** 0.5


@given(seed=seeds)
def test_classmix_pastes_whole_classes_half_of_the_partners(seed: int) -> None:
    images, labels, numbers = batch(4, (5, 5), seed)
    labels[0] = 2  # a single class: nothing to paste
    labels[1] = 255
    came_from = mixed("classmix", images, labels, probability=1.0, seed=seed)[0][:, 0].long()
    for i in range(4):
        pasted, partner = came_from[i] != numbers[i], labels[i ^ 1]
        classes = set(partner.unique().tolist()) - {255}
        chosen = set(partner[pasted].unique().tolist())
        assert 255 not in chosen
        assert len(chosen) == len(classes) // 2
        assert torch.equal(pasted, torch.isin(partner, torch.tensor(sorted(chosen), dtype=torch.uint8)))


def with_labeled(
    kind: Any, images: Tensor, labels: Tensor, *companions: Tensor, share: float, labeled: Any, **where: Any
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    place: dict[str, Any] = {"seed": 3, "step": 5, "collectives": Collectives(CPU)} | where
    config = MixingConfig(kind=kind, probability=1, labeled_partner=share)
    return mix(config, images, labels, companions, labeled=labeled, **place)


@given(kind=st.sampled_from(["cutmix", "classmix"]), seed=seeds, count=st.sampled_from([2, 4, 6, 8]))
def test_what_a_labeled_image_gives_comes_with_its_labels(kind: str, seed: int, count: int) -> None:
    images, labels, numbers = batch(4, (6, 5), seed)
    theirs, truth, _ = batch(count, (6, 5), seed + 1)
    theirs = -theirs  # the sign of the first channel tells where a pixel comes from
    given = torch.zeros_like(labels, dtype=torch.bool)
    new_images, new_labels, (new_numbers, from_labeled) = with_labeled(
        kind, images, labels, numbers, given, share=1, labeled=(theirs, truth.long()), seed=seed
    )
    assert torch.equal(new_images[:, 0] < 0, from_labeled)
    assert (new_numbers[from_labeled] == 255).all()
    assert torch.equal(new_numbers[~from_labeled], numbers[~from_labeled])
    rows = torch.arange(4) * count // 4
    assert torch.equal(new_images, torch.where(from_labeled.unsqueeze(1), theirs[rows], images))
    assert torch.equal(new_labels, torch.where(from_labeled, truth[rows], labels))
    assert new_labels.dtype == torch.uint8


def test_the_share_of_labeled_partners_is_that_of_the_configuration() -> None:
    images, labels, _ = batch(400, (4, 4))
    labels = labels.clamp_max(5)
    theirs = -batch(400, (4, 4), 1)[0]
    pasted, _, _ = with_labeled("cutmix", images, labels, share=0.3, labeled=(theirs, labels))
    share = (pasted[:, 0] < 0).flatten(1).any(1).float().mean().item()
    assert abs(share - 0.3) < 4 * (0.21 / 400) ** 0.5
    # The others' partners, boxes and pixels are those of a training without.
    plain = mixed("cutmix", images, labels, probability=1.0)[0]
    others = ~(pasted[:, 0] < 0).flatten(1).any(1)
    assert torch.equal(pasted[others], plain[others])
    assert torch.equal(with_labeled("cutmix", images, labels, share=0, labeled=(theirs, labels))[0], plain)


@pytest.mark.parametrize("count", [12, 24, 48])
def test_labeled_partners_do_not_depend_on_the_number_of_workers(count: int) -> None:
    images, labels, numbers = batch(24, (6, 5))
    theirs, truth, _ = batch(count, (6, 5), 1)
    alone = with_labeled("classmix", images, labels, numbers, share=0.5, labeled=(-theirs, truth))
    parts = [
        with_labeled(
            "classmix", *(tensor[12 * rank :][:12] for tensor in (images, labels, numbers)), share=0.5,
            labeled=tuple(tensor[count // 2 * rank :][: count // 2] for tensor in (-theirs, truth)),
            collectives=Collectives(CPU, rank, 2),
        )
        for rank in range(2)
    ]  # fmt: skip
    assert torch.equal(torch.cat([part[0] for part in parts]), alone[0])
    assert torch.equal(torch.cat([part[1] for part in parts]), alone[1])
    assert torch.equal(torch.cat([part[2][0] for part in parts]), alone[2][0])
