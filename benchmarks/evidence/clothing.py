"""Write Clothing Co-Parsing (Yang, Luo and Lin, CVPR 2014) as a VOC tree at a quarter of its size.

    git clone https://github.com/bearpaw/clothing-co-parsing CCP
    python -m benchmarks.evidence.clothing CCP DATA/clothing
    u2pl-ray data make-splits DATA/clothing 8

Street fashion photographs with masks, one person each, 137 x 208 pixels. Its 58 tags are merged into eight classes
beside the background; glasses, belts, hats and other small things are ignored. Photographs 1 to 604 are for training,
the next 50 for validation, 705 to 904 for the test.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import loadmat

from benchmarks.evidence.voc_tree import VocTree, main

CLASSES = {
    "background": "null",
    "skin": "skin",
    "hair": "hair",
    "upper": "blazer blouse bra cape cardigan coat hoodie jacket jumper shirt suit sweater sweatshirt t-shirt top vest",
    "dress": "bodysuit dress intimate romper swimwear",
    "trousers": "jeans leggings panties pants shorts stockings tights",
    "skirt": "skirt",
    "shoes": "boots clogs flats heels loafers pumps sandals shoes sneakers socks wedges",
    "bag": "bag purse wallet",
}
IGNORE = 255
SCALE = 4
PARTS = {"train": range(1, 605), "val": range(605, 655), "test": range(705, 905)}


def write(source: Path, target: Path) -> None:
    """Convert the photographs and masks, and write classes and lists."""
    tree = VocTree(target, CLASSES, SCALE)
    tags = [str(tag[0]) for tag in loadmat(source / "label_list.mat")["label_list"].ravel()]
    classes = np.full(256, IGNORE, np.uint8)
    for index, merged in enumerate(CLASSES.values()):
        classes[[tags.index(tag) for tag in merged.split()]] = index
    for part, numbers in PARTS.items():
        names = [f"{number:04d}" for number in numbers]
        tree.write_list(part, names)
        for name in names:
            mask = loadmat(source / "annotations" / "pixel-level" / f"{name}.mat")["groundtruth"]
            tree.write_pair(name, Image.open(source / "photos" / f"{name}.jpg"), classes[mask])


if __name__ == "__main__":
    main(__doc__, write)
