"""Images per second and core of reading and augmenting for training: ours, the published reference's, a plain loop.

    git clone https://github.com/Haochen-Wang409/U2PL
    python benchmarks/reading.py U2PL

On generated JPEGs of 500 x 375 pixels (about 80 kB each) with palette masks, in PASCAL VOC's layout. All three give
normalised float32 images and masks of one crop (512 x 512, or the reference's 513 x 513), after a random scale of
0.5 to 2, a random crop, padded, and a random flip: the paper's augmentation.

* `ours`: a rank's batches as the training takes them (`data.loaders.TrainingBatches`), every image decoded anew.
* `ours, kept`: the same in the training's own process on a small set, whose decoded images are kept.
* `reference`: the published data set and transforms, as they are, in a torch DataLoader.
* `plain`: a map-style data set of OpenCV's decoder and albumentations' pipeline, in a torch DataLoader.

One thread each. Each round reads all images once with each side, in alternating order; a ratio is ours / theirs within
a round, of wall time and of CPU time (which other programs on the machine disturb less). Half of the reference's scales
shrink the image, of the others' a third: less work for it.
"""

import argparse
import collections
import collections.abc
import importlib
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from u2pl_ray.config.overrides import merge, validate
from u2pl_ray.config.schema import Config
from u2pl_ray.data import image_cache, loaders
from u2pl_ray.data.registry import resolve
from u2pl_ray.data.voc import palette

WIDTH, HEIGHT, CLASSES, CROP, BATCH = 500, 375, 21, 512, 4
SCALE = (0.5, 2.0)
MASKS = "SegmentationClassAug"
LISTS = {name: f"ImageSets/{name}.txt" for name in ("labeled", "unlabeled", "all")}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def write_set(root: Path, count: int, seed: int = 0) -> None:
    """Write a PASCAL VOC tree of `count` images: noise of several sizes, and blocky masks with a border of 255.

    Args:
        root: the folder to fill.
        count: images; half of them are labeled.
        seed: of what is drawn.
    """
    draws = np.random.default_rng(seed)
    for name in ("JPEGImages", MASKS, "ImageSets"):
        (root / name).mkdir(parents=True)
    ids = [f"2007_{number:06}" for number in range(count)]
    for name in ids:
        image = np.full((HEIGHT, WIDTH, 3), 120, np.float32)
        for side, strength in ((4, 60), (16, 40), (64, 25), (375, 12)):
            noise = draws.normal(0, strength, (side * 3 // 4, side, 3)).astype(np.float32)
            image += cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / f"JPEGImages/{name}.jpg", quality=92)
        blocks = draws.integers(0, CLASSES, (6, 8), dtype=np.uint8)
        label = cv2.resize(blocks, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
        label[cv2.morphologyEx(label, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0] = 255
        mask = Image.fromarray(label)
        mask.putpalette(palette().reshape(-1).tolist())
        mask.save(root / f"{MASKS}/{name}.png")
    for name, chosen in (("labeled", ids[: count // 2]), ("unlabeled", ids[count // 2 :]), ("all", ids)):
        (root / LISTS[name]).write_text("\n".join(chosen) + "\n")


def ours(root: Path, keep: int) -> Callable[[int], int]:
    """Return what reads every image once by our loader; it takes the epoch and returns how many images came.

    Args:
        root: of the images.
        keep: bytes of decoded images that may be kept.
    """
    tree = {
        "data": {
            "dataset": "voc", "root": str(root), "labels": MASKS, "crop": CROP, "scale": list(SCALE),
            "classes": [f"class {index}" for index in range(CLASSES)], "loader_workers": 0, "val": LISTS["all"],
            "mean": list(MEAN), "std": list(STD), "labeled": LISTS["labeled"], "unlabeled": LISTS["unlabeled"],
        },
        "train": {"batch_size": BATCH, "unlabeled_batch_size": BATCH},
    }  # fmt: skip
    config: Config = resolve(validate(merge(tree, {})))
    image_cache.CACHE_BYTES = keep
    batches = loaders.TrainingBatches(config)

    def epoch(number: int) -> int:
        return sum(len(batch.labels) + len(batch.unlabeled_images) for batch in batches.epoch(number))

    return epoch


def reference(root: Path, checkout: Path) -> Callable[[int], int]:
    """Return the same by the published data set and transforms.

    Args:
        root: of the images.
        checkout: of the published implementation.
    """
    vars(collections)["Iterable"] = collections.abc.Iterable  # gone since Python 3.10
    for name, folder in (("u2pl", checkout / "u2pl"), ("u2pl.dataset", checkout / "u2pl/dataset")):
        package = types.ModuleType(name)  # without what their __init__ imports
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    published: Any = importlib.import_module("u2pl.dataset.pascal_voc")
    settings = {
        "mean": [255 * value for value in MEAN], "std": [255 * value for value in STD], "ignore_label": 255,
        "flip": True, "GaussianBlur": False, "rand_resize": list(SCALE), "crop": {"type": "rand", "size": [513, 513]},
    }  # fmt: skip
    images = published.voc_dset(str(root), str(root / LISTS["all"]), published.build_transfrom(settings))
    return _epoch(images, random.seed)


class Plain(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """What one writes first: OpenCV's decoder, albumentations' pipeline and its `ToTensorV2`."""

    def __init__(self, root: Path) -> None:
        os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
        import albumentations as A
        from albumentations.pytorch import ToTensorV2

        self._root, self._ids = root, (root / LISTS["all"]).read_text().split()
        self.transform = A.Compose(
            [
                A.RandomScale((SCALE[0] - 1, SCALE[1] - 1), p=1.0),
                A.PadIfNeeded(CROP, CROP, border_mode=cv2.BORDER_CONSTANT, fill=0, fill_mask=255),
                A.RandomCrop(CROP, CROP),
                A.HorizontalFlip(p=0.5),
                A.Normalize(MEAN, STD),
                ToTensorV2(),
            ]
        )

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        name = self._ids[index]
        image: Any = cv2.imread(str(self._root / f"JPEGImages/{name}.jpg"), cv2.IMREAD_COLOR)
        with Image.open(self._root / f"{MASKS}/{name}.png") as file:
            mask = np.array(file)
        out = self.transform(image=cv2.cvtColor(image, cv2.COLOR_BGR2RGB), mask=mask)
        return out["image"], out["mask"]


def _epoch(images: Any, seed: Callable[[int], Any]) -> Callable[[int], int]:
    loader = DataLoader(images, batch_size=BATCH, shuffle=True)

    def epoch(number: int) -> int:
        seed(number)
        return sum(len(image) for image, _ in loader)

    return epoch


def plain(root: Path) -> Callable[[int], int]:
    """Return the same by the plain loop."""
    images = Plain(root)
    return _epoch(images, images.transform.set_random_seed)


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def compare(sides: dict[str, Callable[[int], int]], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return images a second of each side in each round, by clock; a first round, which warms up, is left out.

    Args:
        sides: what reads all images once, by name.
        rounds: how often.
    """
    rates: dict[str, dict[str, list[float]]] = {name: {clock: [] for clock in CLOCKS} for name in sides}
    for number in range(rounds + 1):
        for name in list(sides)[:: 1 if number % 2 else -1]:
            starts = {clock: now() for clock, now in CLOCKS.items()}
            images = sides[name](number)
            for clock, now in CLOCKS.items():
                if number:
                    rates[name][clock].append(images / (now() - starts[clock]))
    return rates


def summary(values: list[float]) -> dict[str, Any]:
    """Return median and range."""
    return {"median": round(statistics.median(values), 2), "range": [round(min(values), 2), round(max(values), 2)]}


def ratios(mine: dict[str, list[float]], theirs: dict[str, list[float]]) -> dict[str, Any]:
    """Return median and range of mine / theirs within a round, by clock."""
    return {
        clock: summary([one / other for one, other in zip(mine[clock], theirs[clock], strict=True)]) for clock in CLOCKS
    }


def main() -> None:
    """Compare, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=Path, nargs="?", help="checkout of the published implementation")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "reading.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "VOC"  # the published code knows a data set by its path
        write_set(root, options.images)
        sides = {"ours": ours(root, 0), "ours, kept": ours(root, 2**30), "plain": plain(root)}
        if options.reference is not None:
            sides["reference"] = reference(root, options.reference.resolve())
        rates = compare(sides, options.rounds)
        size = sum(file.stat().st_size for file in (root / "JPEGImages").iterdir()) / options.images
    result = {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__},
        "images": options.images,
        "kilobytes_each": round(size / 1e3, 1),
        "rounds": options.rounds,
        "images_per_second": {
            name: {clock: summary(values) for clock, values in found.items()} for name, found in rates.items()
        },
        "ours_over": {name: ratios(rates["ours"], found) for name, found in rates.items() if name != "ours"},
    }
    print("side | images a second | ours over it: wall time, CPU time; medians [range]")
    for name, found in rates.items():
        shown = [summary(found["wall"]), *ratios(rates["ours"], found).values()]
        print(f"{name:10}", *(f"{it['median']:7.2f} {it['range']}" for it in shown), sep=" | ", flush=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n")
    print(options.output)


if __name__ == "__main__":
    main()
