"""Write the Crop/Weed Field Image Dataset (Haug and Ostermann, CVPPP 2014) as a VOC tree at a third of its size.

    git clone https://github.com/cwfid/dataset CWFID
    python -m benchmarks.evidence.crop_weed CWFID DATA/crop_weed
    u2pl-ray data make-splits DATA/crop_weed 1/16

60 photographs of a carrot field: soil, crop, weed, which have the same green. Its own split; of the training images
every fifth is for validation, and the one listed in both parts is for the test alone. Non-commercial research use.
"""

from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from benchmarks.evidence.voc_tree import VocTree, main

CLASSES = ["soil", "crop", "weed"]
SHARE = 3


def write(source: Path, target: Path) -> None:
    """Convert all images and annotations (green: crop, red: weed), and write classes and lists."""
    tree = VocTree(target, CLASSES, SHARE)
    split = yaml.safe_load((source / "train_test_split.yaml").read_text())
    learned = [number for number in split["train"] if number not in split["test"]]
    lists = {"val": learned[::5], "test": split["test"]}
    lists["train"] = [number for number in learned if number not in lists["val"]]
    for part, numbers in lists.items():
        names = [f"{number:03d}" for number in numbers]
        tree.write_list(part, names)
        for name in names:
            colours = np.array(Image.open(source / "annotations" / f"{name}_annotation.png").convert("RGB"))
            label = (1 * (colours[..., 1] > 127) + 2 * (colours[..., 0] > 127)).astype(np.uint8)
            tree.write_pair(name, Image.open(source / "images" / f"{name}_image.png"), label)


if __name__ == "__main__":
    main(__doc__, write)
