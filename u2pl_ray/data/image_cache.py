"""Decoded images kept in memory."""

import numpy as np

from u2pl_ray.config.schema import Config
from u2pl_ray.data.voc import Item, read_classes, read_item

CACHE_BYTES = 512 * 2**20
"""Decoded images kept in memory by a training or an evaluation that loads in its own process."""


class ImageCache:
    """Reads items; in the training process itself it keeps the decoded ones up to `CACHE_BYTES`.

    A loader process does not: each would hold its own copy.

    Args:
        config: resolved.
        images: how many different ones will be read.
    """

    def __init__(self, config: Config, images: int) -> None:
        self._data, self._classes, self._images = config.data, len(read_classes(config.data)), images
        self._free = CACHE_BYTES if config.data.loader_workers == 0 else 0
        self._kept: dict[Item, tuple[np.ndarray, np.ndarray]] = {}

    def __call__(self, item: Item) -> tuple[np.ndarray, np.ndarray]:
        """Return an item's image and mask, see `read_item`."""
        found = self._kept.get(item)
        if found is None:
            found = read_item(item, self._classes, self._data)
            size = found[0].nbytes + found[1].nbytes
            if size <= self._free:
                self._free -= size
                self._kept[item] = found
        return found

    @property
    def holds_all(self) -> bool:
        """Whether all images will be in memory once each was read, judged by those read so far."""
        return bool(self._kept) and self._missing() <= self._free

    @property
    def to_come(self) -> int:
        """The bytes that it will still take, judged by those read so far."""
        return min(self._free, self._missing())

    def _missing(self) -> int:
        kept = sum(image.nbytes + mask.nbytes for image, mask in self._kept.values())
        return kept * (self._images - len(self._kept)) // max(1, len(self._kept))
