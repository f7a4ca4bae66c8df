"""Reported metrics in the W&B client's types: histograms from counts, pictures from files and matrices."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

OBJECTIVE_PREFIX = "best/"
"""The best value so far of the objective is logged as this prefix + its name."""

MEDIA_PREFIX = "media/"
"""Metrics of this prefix are paths of image files."""


def row_for_client(metrics: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """One row for `run.log`.

    Args:
        metrics: Plain values as read from JSON. Scalars and text stay; a list of counts becomes a histogram; a
            list of lists (a matrix of counts: row = true class, column = predicted class) becomes a picture. Under
            `media/...`, the path of an image file, or a list of them, becomes pictures with the files' names as
            captions. None, and a file that is not there, are left out.
        directory: What paths are relative to.
    """
    import wandb

    row: dict[str, Any] = {}
    for name, value in metrics.items():
        if value is None:
            continue
        if name.startswith(MEDIA_PREFIX):
            paths = [directory / path for path in ([value] if isinstance(value, str) else value)]
            row[name] = [wandb.Image(str(path), caption=path.stem) for path in paths if path.exists()]
        elif not isinstance(value, list) or not value:
            row[name] = value
        elif isinstance(value[0], list):
            row[name] = wandb.Image(matrix_picture(np.asarray(value, dtype=float)))
        else:
            row[name] = wandb.Histogram(np_histogram=(np.asarray(value), edges(name, len(value), metrics)))
    return row


def edges(name: str, bins: int, metrics: Mapping[str, Any]) -> np.ndarray:
    """Edges of a histogram's bins, float64 [bins + 1].

    They are equally wide from 0 to the metric called `max` beside the counts (`diag/entropy/max` for
    `diag/entropy/hist` and `diag/entropy/hist_right`); without one, each bin is one wide.
    """
    upper = metrics.get(f"{name.rpartition('/')[0]}/max")
    return np.linspace(0.0, float(upper) if isinstance(upper, (int, float)) else float(bins), bins + 1)


def row_again(row: Mapping[str, Any], files: Path) -> dict[str, Any]:
    """A row read back from a run's file, for logging it to the next session of the same run.

    Args:
        row: As `reader.read_run` gives it.
        files: The folder `files` beside that file, where its pictures are. Pictures that are gone are left out.
    """
    import wandb

    again: dict[str, Any] = {"_timestamp": row["_timestamp"]} if "_timestamp" in row else {}
    for name, value in row.items():
        kind = value.get("_type") if isinstance(value, dict) else None
        if name.startswith("_"):
            continue
        if kind == "histogram":
            counts, bins = np.asarray(value["values"]), np.asarray(value["bins"])
            again[name] = wandb.Histogram(np_histogram=(counts, bins))
        elif kind == "image-file" and (files / value["path"]).exists():
            again[name] = wandb.Image(str(files / value["path"]))
        elif kind == "images/separated":
            paths = [files / path for path in value["filenames"]]
            captions = value.get("captions") or [path.stem for path in paths]
            again[name] = [
                wandb.Image(str(path), caption=caption)
                for path, caption in zip(paths, captions, strict=False)
                if path.exists()
            ]
        elif kind is None:
            again[name] = value
    return again


def matrix_picture(matrix: np.ndarray, side: int = 320) -> np.ndarray:
    """A confusion matrix as a picture.

    Args:
        matrix: float [n, n], counts; row = true class, column = predicted class.
        side: Approximate width and height, in pixels.

    Returns:
        uint8 [k*n, k*n, 3]: white for 0, dark blue for all of the row's pixels.
    """
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1.0)
    white, dark = np.array([255.0, 255.0, 255.0]), np.array([8.0, 48.0, 107.0])
    picture = white + (dark - white) * share[..., None]
    scale = max(1, side // max(matrix.shape))
    return np.kron(picture, np.ones((scale, scale, 1))).astype(np.uint8)
