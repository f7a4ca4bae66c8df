"""What a folder of predictions shows, class by class."""

from collections.abc import Sequence

import numpy as np

from u2pl_ray.data.percent import percent


class Tally:
    """Counts, over predicted images, the pixels of each class and the images that show it.

    Args:
        classes: names in label order.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = tuple(classes)
        self._pixels = np.zeros(len(self._classes), np.int64)
        self._images = np.zeros(len(self._classes), np.int64)
        self._count = 0

    def add(self, labels: np.ndarray) -> None:
        """Count an image's label map, uint8 [h, w] of class indices."""
        pixels = np.bincount(labels.ravel(), minlength=len(self._classes))[: len(self._classes)]
        self._pixels += pixels
        self._images += pixels > 0
        self._count += 1

    def lines(self) -> list[str]:
        """Return a line for each class that is shown, the largest first, for people."""
        width, total = max(len(name) for name in self._classes), max(1, int(self._pixels.sum()))
        said = [f"{self._count} images predicted; share of pixels, and images that show the class:"]
        for row in np.argsort(-self._pixels, kind="stable"):
            if self._pixels[row]:
                share = percent(self._pixels[row] / total)
                said.append(f"  {self._classes[row]:<{width}} {share:>6} %  {self._images[row]:>6}")
        return said
