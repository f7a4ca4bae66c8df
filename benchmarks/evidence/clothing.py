"""Write Clothing Co-Parsing (Yang, Luo and Lin, CVPR 2014) as a VOC tree at a quarter of its size.

    git clone https://github.com/bearpaw/clothing-co-parsing CCP
    python -m benchmarks.evidence.clothing CCP DATA/clothing
    u2pl-ray data make-splits DATA/clothing 8

Street fashion photographs with masks, one person each, 137 x 208 pixels. Its 58 tags are merged into eight classes
beside the background; glasses, belts, hats and other small things are ignored. Photographs 1 to 604 are for training,
the next 50 for validation, 705 to 904 for the test.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import loadmat

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
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    (target / "classes.json").write_text(json.dumps(list(CLASSES)))
    tags = [str(tag[0]) for tag in loadmat(source / "label_list.mat")["label_list"].ravel()]
    classes = np.full(256, IGNORE, np.uint8)
    for index, merged in enumerate(CLASSES.values()):
        classes[[tags.index(tag) for tag in merged.split()]] = index
    for part, numbers in PARTS.items():
        text = "".join(f"{number:04d}\n" for number in numbers)
        (target / "ImageSets" / "Segmentation" / f"{part}.txt").write_text(text)
        for number in numbers:
            mask = classes[loadmat(source / "annotations" / "pixel-level" / f"{number:04d}.mat")["groundtruth"]]
            image = Image.open(source / "photos" / f"{number:04d}.jpg").convert("RGB")
            size = (image.width // SCALE, image.height // SCALE)
            small = image.resize(size, Image.Resampling.BOX)
            small.save(target / "JPEGImages" / f"{number:04d}.jpg", quality=95, subsampling=0)
            rows = np.arange(size[1]) * SCALE + SCALE // 2
            columns = np.arange(size[0]) * SCALE + SCALE // 2
            Image.fromarray(mask[np.ix_(rows, columns)]).save(target / "SegmentationClass" / f"{number:04d}.png")


def main() -> None:
    """Read the two folders' names and convert."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="checkout of the data set")
    parser.add_argument("target", type=Path, help="folder to write")
    options = parser.parse_args()
    write(options.source, options.target)


if __name__ == "__main__":
    main()
