"""Convert reported metrics to the W&B client's types: histograms from counts, images from files and matrices."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from u2pl_ray.tracking.overlays import image_with_maps, overlays

OBJECTIVE_PREFIX = "best/"
"""Prefix of the metric that holds the best value of the objective so far, such as `best/val/miou`."""

MEDIA_PREFIX = "media/"
"""Prefix of metrics whose values are paths of image files."""


def class_names(config: Mapping[str, Any]) -> Sequence[str]:
    """Return the class names of a trial's configuration in label order; empty if it names none."""
    data = config.get("data")
    return tuple(data.get("classes") or ()) if isinstance(data, Mapping) else ()


def row_for_client(metrics: Mapping[str, Any], directory: Path, classes: Sequence[str] = ()) -> dict[str, Any]:
    """Convert one epoch's metrics to a row for `run.log`.

    Args:
        metrics: Plain values as read from JSON. Scalars and text stay; a list of counts becomes a histogram; a
            list of lists (a matrix of counts: row = true class, column = predicted class) becomes a picture. Under
            `media/...`, the path of an image file, or a list of them, becomes pictures with the files' names as
            captions; the path of a folder becomes its images with their maps as overlays, one metric a split. None,
            and a file that is not there, are left out.
        directory: What paths are relative to.
        classes: Names in label order.
    """
    import wandb

    row: dict[str, Any] = {}
    for name, value in metrics.items():
        if value is None:
            continue
        if name.startswith(MEDIA_PREFIX):
            paths = [directory / path for path in ([value] if isinstance(value, str) else value)]
            if len(paths) == 1 and paths[0].is_dir():
                row |= {f"{name}/{split}": images for split, images in overlays(paths[0], classes).items()}
                continue
            row[name] = [wandb.Image(str(path), caption=path.stem) for path in paths if path.exists()]
        elif not isinstance(value, list) or not value:
            row[name] = value
        elif isinstance(value[0], list):
            row[name] = wandb.Image(matrix_picture(np.asarray(value, dtype=float), classes))
        else:
            row[name] = wandb.Histogram(np_histogram=(np.asarray(value), edges(name, len(value), metrics)))
    return row


def edges(name: str, bins: int, metrics: Mapping[str, Any]) -> np.ndarray:
    """Compute the edges of a histogram's bins, float64 [bins + 1].

    They are equally wide from 0 to the metric called `max` beside the counts (`diag/entropy/max` for
    `diag/entropy/hist` and `diag/entropy/hist_right`); without one, each bin is one wide.

    Args:
        name: Name of the metric with the counts.
        bins: Number of counts.
        metrics: All metrics of the epoch.
    """
    upper = metrics.get(f"{name.rpartition('/')[0]}/max")
    return np.linspace(0.0, float(upper) if isinstance(upper, (int, float)) else float(bins), bins + 1)


def row_again(row: Mapping[str, Any], files: Path, classes: Sequence[str] = ()) -> dict[str, Any]:
    """Rebuild a row that was read from a run's file, to log it in the next session of the same run.

    Args:
        row: As `reader.read_run` gives it.
        files: The folder `files` beside that file, where its pictures are. Pictures that are gone are left out.
        classes: Names in label order.
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
            masks = value.get("all_masks") or [{} for _ in paths]
            again[name] = [
                image_with_maps(path, caption, _present(maps, files), classes)
                for path, caption, maps in zip(paths, captions, masks, strict=False)
                if path.exists()
            ]
        elif kind is None:
            again[name] = value
    return again


def _present(maps: Mapping[str, Any], files: Path) -> dict[str, Path]:
    """Return the files of an image's maps by kind, without those that are missing."""
    return {kind: files / mask["path"] for kind, mask in (maps or {}).items() if (files / mask["path"]).exists()}


def matrix_picture(matrix: np.ndarray, classes: Sequence[str] = (), side: int = 320) -> np.ndarray:
    """Draw a confusion matrix.

    Args:
        matrix: float [n, n], counts; row = true class, column = predicted class.
        classes: Names to write before the rows and above the columns; ignored unless there are n of them.
        side: Approximate width and height of the cells together, in pixels.

    Returns:
        uint8 [h, w, 3]: cells from white (none of the row's pixels) to dark blue (all). Without names h = w = k*n.
    """
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1.0)
    white, dark = np.array([255.0, 255.0, 255.0]), np.array([8.0, 48.0, 107.0])
    picture = white + (dark - white) * share[..., None]
    scale = max(1, side // max(matrix.shape))
    cells = np.kron(picture, np.ones((scale, scale, 1))).astype(np.uint8)
    return _named(cells, classes, scale) if len(classes) == len(matrix) else cells


def _named(cells: np.ndarray, classes: Sequence[str], scale: int) -> np.ndarray:
    """Enlarge the cells to `scale` pixels and write the names to the left (true) and above (predicted)."""
    draw = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    line, gap = 12, 4
    width = round(max(draw.textlength(name) for name in classes)) + 2 * gap
    names = Image.new("RGB", (width, cells.shape[0]), "white")
    draw = ImageDraw.Draw(names)
    for row, name in enumerate(classes):
        draw.text((gap, row * scale + (scale - line) // 2), name, "black")
    sheet = Image.new("RGB", (width + cells.shape[1], width + cells.shape[0]), "white")
    sheet.paste(names, (0, width))
    # Turned by a quarter to the left, the first row would be the leftmost column, read from below.
    sheet.paste(names.rotate(90, expand=True), (width, 0))
    sheet.paste(Image.fromarray(cells), (width, width))
    return np.asarray(sheet)
