"""Write the Crop/Weed Field Image Dataset (Haug and Ostermann, CVPPP 2014) as a VOC tree at a third of its size.

    git clone https://github.com/cwfid/dataset CWFID
    python -m benchmarks.evidence.crop_weed CWFID DATA/crop_weed
    u2pl-ray data make-splits DATA/crop_weed 1/16

60 photographs of a carrot field: soil, crop, weed, which have the same green. Its own split; of the training images
every fifth is for validation, and the one listed in both parts is for the test alone. Non-commercial research use.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

CLASSES = ["soil", "crop", "weed"]
SHARE = 3


def write(source: Path, target: Path) -> None:
    """Convert all images and annotations (green: crop, red: weed), and write classes and lists."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    (target / "classes.json").write_text(json.dumps(CLASSES))
    split = yaml.safe_load((source / "train_test_split.yaml").read_text())
    learned = [number for number in split["train"] if number not in split["test"]]
    lists = {"val": learned[::5], "test": split["test"]}
    lists["train"] = [number for number in learned if number not in lists["val"]]
    for name, numbers in lists.items():
        text = "".join(f"{number:03d}\n" for number in numbers)
        (target / "ImageSets" / "Segmentation" / f"{name}.txt").write_text(text)
        for number in numbers:
            image = Image.open(source / "images" / f"{number:03d}_image.png").convert("RGB")
            colours = np.array(Image.open(source / "annotations" / f"{number:03d}_annotation.png").convert("RGB"))
            label = (1 * (colours[..., 1] > 127) + 2 * (colours[..., 0] > 127)).astype(np.uint8)
            size = (image.width // SHARE, image.height // SHARE)
            small = image.resize(size, Image.Resampling.BOX)
            small.save(target / "JPEGImages" / f"{number:03d}.jpg", quality=95, subsampling=0)
            Image.fromarray(label[SHARE // 2 :: SHARE, SHARE // 2 :: SHARE]).save(
                target / "SegmentationClass" / f"{number:03d}.png"
            )


def main() -> None:
    """Read the two folders' names and convert."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="checkout of the data set")
    parser.add_argument("target", type=Path, help="folder to write")
    options = parser.parse_args()
    write(options.source, options.target)


if __name__ == "__main__":
    main()
