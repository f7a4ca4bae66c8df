"""A trial's images: they arrive with an epoch's metrics, and lie in files beside the trial's records."""

import base64
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from u2pl_ray.config import metrics as names

FOLDER = "images"


def store_images(trial: Path, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Write an epoch's images to `<trial>/images/epoch_<n>`.

    All of them stay: there are about five a training, together far smaller than a checkpoint.

    Args:
        trial: the trial's folder.
        metrics: as reported, with the files under `image_data` if the epoch has any.

    Returns:
        The metrics without the files; `images` names their folder, relative to the trial's. If they cannot be
        written, there is no `images`: pictures never end a search.
    """
    plain = {name: value for name, value in metrics.items() if name != names.IMAGE_DATA}
    if names.IMAGE_DATA not in metrics:
        return plain
    folder = trial / FOLDER / f"epoch_{metrics[names.EPOCH]:05d}"
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, content in metrics[names.IMAGE_DATA].items():
            (partial / name).write_bytes(base64.b64decode(content))
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except OSError:
        return plain
    return {**plain, names.IMAGES: f"{FOLDER}/{folder.name}"}
