"""Strong augmentation of the unlabeled batch with its pseudo-labels: CutMix, ClassMix, CutOut.

Images 2k and 2k+1 of the global batch are each other's partner, unless a labeled image takes the partner's place. Draws
are made for the global batch, so the result does not depend on how many workers share it.
"""

import torch
from torch import Tensor

from u2pl_ray.config.method import MixingConfig
from u2pl_ray.config.schema import IGNORE
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.rng import generator

_LABELS = 256  # every value a uint8 label can take


def mix(
    config: MixingConfig,
    images: Tensor,
    pseudo_labels: Tensor,
    companions: tuple[Tensor, ...] = (),
    *,
    seed: int,
    step: int,
    collectives: Collectives,
    stream: str = "mixing",
    labeled: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Mix this worker's images; every label map follows its pixels exactly.

    cutmix (Yun et al., ICCV 2019): each image of a pair gets a box, half its area, from its partner.
    classmix (Olsson et al., WACV 2021): each image gets its partner's pixels of a random half (rounded down) of the
    classes among the partner's (pseudo-)labels.
    cutout (DeVries & Taylor 2017): a box of half the image's area is set to 0, the mean colour, and its labels to 255.

    Args:
        config: kind and probability; cutmix and classmix decide once for a pair, cutout once for an image.
        images: [B,3,h,w] float; B is even for cutmix and classmix, the same on every worker.
        pseudo_labels: [B,h,w] uint8.
        companions: further maps [B,h,w], of dtypes that hold 255, to be carried along.
        seed: the training's; the draws depend on it, on the step and the stream.
        step: global optimizer step.
        collectives: this worker's place in the global batch.
        stream: name of the draws.
        labeled: images [Bl,3,h,w] and labels [Bl,h,w] of this worker, for `labeled_partner`: image i may have image
            i * Bl // B of them as its partner. What comes from there has 255 (True) in the companions.

    Returns:
        Mixed images, pseudo-labels and companions, as new tensors (kind "none": the given ones).
    """
    if config.kind == "none":
        return images, pseudo_labels, companions
    count = images.shape[0]
    draws_of = generator(images.device, seed, step, stream)
    draws = torch.rand(
        count * collectives.world_size, 4 + _LABELS, generator=draws_of, device=images.device, dtype=torch.float64
    )
    own = collectives.own(draws)
    decided, box_draws, class_draws = own[:, 0] < config.probability, own[:, 1:4], own[:, 4:]
    if config.kind == "cutout":
        mask = _boxes(box_draws, pseudo_labels.shape[-2:]) & decided.view(-1, 1, 1)
        labels = tuple(map_.masked_fill(mask, IGNORE) for map_ in (pseudo_labels, *companions))
        return images.masked_fill(mask.unsqueeze(1), 0.0), labels[0], labels[1:]
    if count % 2:
        raise ValueError(f"{config.kind} mixes pairs: got {count} images")
    other_images, other_labels, *others = (_partner(map_) for map_ in (images, pseudo_labels, *companions))
    if labeled is not None and config.labeled_partner > 0:
        chances = torch.rand(
            count * collectives.world_size,
            generator=generator(images.device, seed, step, f"{stream}/partner"),
            device=images.device,
            dtype=torch.float64,
        )
        chosen = collectives.own(chances) < config.labeled_partner
        rows = torch.arange(count, device=images.device) * len(labeled[1]) // count
        other_images = _where(chosen, labeled[0][rows], other_images)
        other_labels = _where(chosen, labeled[1][rows].to(pseudo_labels.dtype), other_labels)
        others = [map_.masked_fill(chosen.view(-1, 1, 1), IGNORE) for map_ in others]
    if config.kind == "cutmix":
        mask = _boxes(box_draws, pseudo_labels.shape[-2:])
    else:
        mask = _classes(_partner(class_draws), other_labels)
    mask = mask & decided[::2].repeat_interleave(2).view(-1, 1, 1)
    mixed = tuple(torch.where(mask, other, map_) for other, map_ in zip(others, companions, strict=True))
    new_labels = torch.where(mask, other_labels, pseudo_labels)
    return torch.where(mask.unsqueeze(1), other_images, images), new_labels, mixed


def _partner(batch: Tensor) -> Tensor:
    """Each pair swapped: row 2k holds row 2k+1 and the other way round."""
    return batch.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)


def _where(rows: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """Rows of `yes` where `rows` [B] is True, of `no` elsewhere."""
    return torch.where(rows.view(-1, *[1] * (no.ndim - 1)), yes, no)


def _boxes(draws: Tensor, size: torch.Size) -> Tensor:
    """[B,h,w] bool, one box per image: uniform width from w/2 to w, area h*w/2, uniform position. `draws` [B,3]."""
    h, w = size
    widths = _integer(draws[:, 0], w // 2, torch.full_like(draws[:, 0], w))
    heights = (h * w / 2 / widths).round()
    lefts = _integer(draws[:, 1], 0, w - widths)
    tops = _integer(draws[:, 2], 0, h - heights)
    columns = torch.arange(w, device=draws.device) - lefts.unsqueeze(1)
    rows = torch.arange(h, device=draws.device) - tops.unsqueeze(1)
    inside_columns = (columns >= 0) & (columns < widths.unsqueeze(1))
    inside_rows = (rows >= 0) & (rows < heights.unsqueeze(1))
    return inside_rows.unsqueeze(2) & inside_columns.unsqueeze(1)


def _integer(uniform: Tensor, low: int, high: Tensor) -> Tensor:
    """Whole numbers from `low` to `high`, both included, from draws in [0, 1); floating dtype kept."""
    return torch.minimum((uniform * (high - low + 1)).floor() + low, high)


def _classes(draws: Tensor, pseudo_labels: Tensor) -> Tensor:
    """[B,h,w] bool: pixels of a random half (rounded down) of the classes in each image. `draws` [B,256]."""
    flat = pseudo_labels.flatten(1).long()
    present = torch.zeros_like(draws, dtype=torch.bool).scatter_(1, flat, True)
    present[:, IGNORE] = False
    place = torch.where(present, draws, 2.0).argsort(1).argsort(1)  # rank among the present classes
    chosen = place < (present.sum(1, keepdim=True) // 2)
    return chosen.gather(1, flat).view_as(pseudo_labels)
