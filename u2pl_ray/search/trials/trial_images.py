"""Store a trial's images, which the workers report together with an epoch's metrics."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from u2pl_ray.config import metrics as names
from u2pl_ray.search.storage import layout
from u2pl_ray.system.atomic import whole_folder


def store_images(trial: Path, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Write an epoch's images to `<trial>/images/epoch_<n>`.

    No epoch's images are deleted: about five epochs of a training have some, together far smaller than a checkpoint.

    Args:
        trial: the trial's folder.
        metrics: as reported, with the files under `image_data` if the epoch has any.

    Returns:
        The metrics without the files; `images` names their folder, relative to the trial's. If they cannot be
        written, there is no `images`: a failed image never ends a search.
    """
    plain = {name: value for name, value in metrics.items() if name != names.IMAGE_DATA}
    if names.IMAGE_DATA not in metrics:
        return plain
    folder = trial / layout.IMAGES / f"epoch_{metrics[names.EPOCH]:05d}"
    try:
        with whole_folder(folder) as partial:
            for name, content in metrics[names.IMAGE_DATA].items():
                (partial / name).write_bytes(base64.b64decode(content))
    except OSError:
        return plain
    return {**plain, names.IMAGES: f"{layout.IMAGES}/{folder.name}"}
