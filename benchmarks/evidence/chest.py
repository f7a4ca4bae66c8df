"""Write JSRT chest radiographs with SCR's outlines (Shiraishi et al. 2000; van Ginneken et al. 2006) as a VOC tree.

    git clone https://github.com/AnishHota/JSRT-Segmentation JSRT
    python -m benchmarks.evidence.chest JSRT DATA/chest
    u2pl-ray data make-splits DATA/chest 2

247 radiographs of the chest at 128 x 128 pixels (a sixteenth of their size): lungs, heart and clavicles, left and
right as one class, on a background. In an order drawn once, 147 are for training, 30 for validation, 70 for the test.
For research.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.evidence.voc_tree import VocTree, main

CLASSES = {
    "background": [],
    "lung": ["right_lung", "left_lung"],
    "heart": ["heart"],
    "clavicle": ["right_clavicle", "left_clavicle"],
}
"""Which outlines a class has; what comes later lies above."""
SHARE = 8
PARTS = {"train": slice(147), "val": slice(147, 177), "test": slice(177, None)}


def write(source: Path, target: Path) -> None:
    """Convert the radiographs and outlines, and write classes and lists."""
    tree = VocTree(target, CLASSES, SHARE)
    images, masks = source / "JSRT" / "jsrt_images" / "images", source / "JSRT" / "masks" / "masks"
    names = np.random.default_rng(0).permutation(sorted(file.name.split(".")[0] for file in images.glob("JPC*.png")))
    for part, of_part in PARTS.items():
        members = sorted(names[of_part])
        tree.write_list(part, members)
        for name in members:
            label = np.zeros((1024, 1024), np.uint8)
            for index, outlines in enumerate(CLASSES.values()):
                for outline in outlines:
                    label[np.asarray(Image.open(masks / outline / f"{name}.gif").convert("L")) > 0] = index
            tree.write_pair(name, Image.open(images / f"{name}.IMG.png").convert("L").reduce(2), label)


if __name__ == "__main__":
    main(__doc__, write)
