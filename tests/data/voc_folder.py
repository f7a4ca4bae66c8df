from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config


@dataclass
class Folder:
    """A small data set in VOC layout: ids l0.., u0.., v0.., t0..; three classes; labels for all."""

    root: Path

    @classmethod
    def new(cls, root: Path) -> "Folder":
        """One that has its folders and classes, and no image yet."""
        made = cls(root)
        for name in ("JPEGImages", "SegmentationClass"):
            (root / name).mkdir(parents=True)
        (root / "classes.json").write_text('["background", "cat", "dog"]')
        return made

    def image(self, name: str, suffix: str = ".png") -> Path:
        return self.root / "JPEGImages" / f"{name}{suffix}"

    def label(self, name: str) -> Path:
        return self.root / "SegmentationClass" / f"{name}.png"

    def write(self, name: str, height: int, width: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        label = rng.integers(0, 3, (height, width)).astype(np.uint8)
        label[0, 0] = 255
        Image.fromarray(rng.integers(0, 256, (height, width, 3)).astype(np.uint8)).save(self.image(name))
        Image.fromarray(label).save(self.label(name))

    def split(self, name: str, ids: list[str]) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text("".join(f"{i}\n" for i in ids))

    def config(self, batch_size: int = 4, **data: object) -> Config:
        return Config.model_validate(
            {
                "data": {"root": str(self.root), "crop": 32, **data},
                "method": {"contrastive": {"low_rank": 1}},
                "train": {"batch_size": batch_size, "unlabeled_batch_size": batch_size, "eval_batch_size": 2},
            }
        )


@contextmanager
def refused(*words: str) -> Iterator[None]:
    """Expects a `UserError` of one line that holds every word."""
    with pytest.raises(UserError) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
