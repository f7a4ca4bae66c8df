"""Reported metrics in the W&B client's types: histograms from counts, pictures from files and matrices."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

OBJECTIVE_PREFIX = "best/"
"""The best value so far of the objective is logged as this prefix + its name."""

EDGES_SUFFIX = "_edges"
"""A list of counts named N takes its bin edges from the list named N + this suffix."""


def row_for_client(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """One row for `run.log`.

    Args:
        metrics: Plain values as read from JSON. Scalars and text stay; a list of counts becomes a histogram; a
            list of lists (a matrix of counts, rows sum to what is true) becomes a picture, each row scaled to its
            sum; `{"_path": file}` becomes that picture. None is left out.
    """
    import wandb

    row: dict[str, Any] = {}
    for name, value in metrics.items():
        if value is None or (name.endswith(EDGES_SUFFIX) and isinstance(value, list)):
            continue
        if isinstance(value, dict) and "_path" in value:
            row[name] = wandb.Image(value["_path"])
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            row[name] = [wandb.Image(item["_path"]) for item in value]
        elif isinstance(value, list) and value and isinstance(value[0], list):
            row[name] = wandb.Image(matrix_picture(np.asarray(value, dtype=float)))
        elif isinstance(value, list):
            edges = metrics.get(name + EDGES_SUFFIX) or list(range(len(value) + 1))
            row[name] = wandb.Histogram(np_histogram=(value, edges))
        else:
            row[name] = value
    return row


def row_again(row: Mapping[str, Any], files: Path) -> dict[str, Any]:
    """A row read back from a run's file, for logging it to another session of the same run.

    Args:
        row: As `reader.read_run` gives it.
        files: The `files` folder beside that file, where its pictures are.
    """
    import wandb

    again: dict[str, Any] = {}
    for name, value in row.items():
        if name.startswith("_"):
            continue
        kind = value.get("_type") if isinstance(value, dict) else None
        if kind == "histogram":
            again[name] = wandb.Histogram(np_histogram=(value["values"], value["bins"]))
        elif kind == "image-file":
            again[name] = wandb.Image(str(files / value["path"]))
        elif kind == "images/separated":
            again[name] = [wandb.Image(str(files / path)) for path in value.get("filenames", [])]
        elif kind is None:
            again[name] = value
    return again


def matrix_picture(matrix: np.ndarray, side: int = 320) -> np.ndarray:
    """A matrix of counts as a picture.

    Args:
        matrix: [n, n] counts; row = true class, column = predicted class.
        side: Approximate width and height, in pixels.

    Returns:
        uint8 [k*n, k*n, 3]: white for 0, dark blue for a whole row's sum.
    """
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1.0)
    dark = np.array([8.0, 48.0, 107.0])
    picture = 255.0 + (dark - 255.0) * share[..., None]
    scale = max(1, side // max(matrix.shape))
    return np.kron(picture, np.ones((scale, scale, 1))).astype(np.uint8)
