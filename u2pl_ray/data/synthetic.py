"""The generated set: textured shapes over clutter, written once to a cache as a folder in PASCAL VOC layout.

A class is a pair of shape and texture. Its hue, texture scale and contrast, rotation, size, lighting, background
and occlusion vary so much that a dozen labeled images do not cover them, while the unlabeled images do.
"""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import DataConfig, SyntheticConfig
from u2pl_ray.data.voc import IMAGES, LABELS, SPLITS, palette

GENERATOR_VERSION = 3
"""Part of the cache key: raise it whenever `draw_scene` or the files' layout changes."""

CLASSES = (
    "striped_disc",
    "checkered_square",
    "dotted_triangle",
    "ringed_star",
    "wavy_cross",
    "plain_ring",
    "netted_ellipse",
    "spoked_crescent",
    "striped_hexagon",
    "checkered_bar",
    "dotted_flower",
)
"""Foreground classes, in label order from 1."""


def class_names(config: SyntheticConfig) -> tuple[str, ...]:
    """Names of the classes in label order; 0 is the background."""
    return ("background", *CLASSES[: config.classes - 1])


def cache_root() -> Path:
    """Folder of generated data: $U2PL_RAY_CACHE, else $XDG_CACHE_HOME/u2pl_ray, else ~/.cache/u2pl_ray."""
    own, xdg = os.environ.get("U2PL_RAY_CACHE"), os.environ.get("XDG_CACHE_HOME")
    chosen = Path(own) if own else Path(xdg) / "u2pl_ray" if xdg else Path("~/.cache/u2pl_ray")
    return Path(os.path.abspath(chosen.expanduser()))


def ensure(config: SyntheticConfig) -> Path:
    """The folder of the set, generated if it is not there. Deterministic; safe with several processes at once.

    Raises:
        UserError: the cache can't be written.
    """
    key = json.dumps({"version": GENERATOR_VERSION, **config.model_dump()}, sort_keys=True)
    target = cache_root() / "synthetic" / hashlib.sha256(key.encode()).hexdigest()[:16]
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=target.parent))
        try:
            _write(draft, config)
            draft.chmod(0o755)  # mkdtemp's is private to the user
            _publish(draft, target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"the generated set can't be written to {target} ({error.strerror or error}): "
            "set U2PL_RAY_CACHE to a folder that can be written"
        ) from None
    return target


def _publish(draft: Path, target: Path) -> None:
    """Rename the finished folder into place; another process may have been first with the same files."""
    try:
        draft.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _write(root: Path, config: SyntheticConfig) -> None:
    from u2pl_ray.data.scenes import draw_scene  # needs OpenCV, which is slow to import

    data, lists = DataConfig(), {}
    for folder in (IMAGES, LABELS, "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    colours = palette().tobytes()
    for code, split in enumerate(SPLITS):
        lists[split] = [f"{split}_{number:04d}" for number in range(getattr(config, split))]
        for number, name in enumerate(lists[split]):
            image, label = draw_scene(config, np.random.default_rng((config.seed, code, number)), number)
            Image.fromarray(image).save(root / IMAGES / f"{name}.png")
            drawn = Image.fromarray(label)
            drawn.putpalette(colours)
            drawn.save(root / LABELS / f"{name}.png")
        (root / getattr(data, split)).write_text("".join(f"{name}\n" for name in lists[split]))
    train = lists["labeled"] + lists["unlabeled"]
    (root / "ImageSets/Segmentation/train.txt").write_text("".join(f"{name}\n" for name in train))
    (root / "classes.json").write_text(json.dumps(class_names(config)))
