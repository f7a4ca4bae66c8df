"""The golden vectors of tests/golden (described in its README.md)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parent.parent / "golden"
CASES = sorted(path.stem for path in FOLDER.glob("*.npz") if path.stem != "ohem")


@dataclass(frozen=True)
class Golden:
    """One file: its configuration and its arrays."""

    config: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @property
    def steps(self) -> range:
        return range(self.config["steps"])

    def numpy(self, step: int, name: str) -> np.ndarray:
        return self.arrays[f"s{step}_{name}"]

    def has(self, step: int, name: str) -> bool:
        return f"s{step}_{name}" in self.arrays

    def tensor(self, step: int, name: str) -> Tensor:
        return torch.from_numpy(np.array(self.numpy(step, name)))

    def masks(self, step: int) -> tuple[Tensor, Tensor]:
        """The small maps low_mask and high_mask [n, H, W] bool."""
        return self.tensor(step, "low_mask").bool(), self.tensor(step, "high_mask").bool()

    def prob(self, step: int) -> Tensor:
        """Teacher probabilities on the small map [n, C, H, W], labeled first."""
        return torch.cat([self.tensor(step, "prob_l"), self.tensor(step, "prob_u")])


def load(case: str) -> Golden:
    with np.load(FOLDER / f"{case}.npz") as file:
        arrays = {name: file[name] for name in file.files}
    return Golden(json.loads(str(arrays.pop("config"))), arrays)


def ohem() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "ohem.npz") as file:
        return {name: file[name] for name in file.files}
