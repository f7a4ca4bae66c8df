"""Every published preset on a tiny set in the layout that it names: lists, masks, network, two optimizer steps."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from u2pl_ray.config.overrides import load, presets
from u2pl_ray.config.preset import rate_note, read_presets
from u2pl_ray.config.schema import Config
from u2pl_ray.data.loaders import TrainingBatches
from u2pl_ray.data.registry import resolve
from u2pl_ray.models.segmentor import blank
from u2pl_ray.train.loop import Worker
from u2pl_ray.train.session import LocalSession

PUBLISHED = [name for name, preset in read_presets().items() if preset.batch_size]
FAMILIES = [name for name in PUBLISHED if "-92" in name or "1_8" in name]
"""One of each: the others differ from it in their lists only."""
SMALL = [
    "data.crop=32",
    "data.loader_workers=0",
    "train.batch_size=2",
    "train.unlabeled_batch_size=2",
    "train.steps_per_epoch=2",
    "train.epochs=1",
    "method.warmup_epochs=0",
    "tracking.images=0",
    "model.encoder_weights=null",
    "model.representation_dim=16",
    "method.memory_bank={capacity: 100, background_capacity: 100}",
    "method.contrastive.negatives=8",
]


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """VOC and Cityscapes in small: U2PL's lists, and those of UniMatch where they have names of their own."""
    folder, draws = tmp_path_factory.mktemp("published"), np.random.default_rng(0)
    found = {kind: folder / kind for kind in ("voc", "cityscapes")}
    for kind, root in found.items():
        classes, lists = (21, "pascal") if kind == "voc" else (19, "cityscapes")
        pairs = []
        for number in range(8):
            masks: list[str]
            if kind == "voc":
                name = f"2007_{number:06}"
                image, masks = f"JPEGImages/{name}.jpg", [f"{it}/{name}.png" for it in VOC_MASKS]
            else:
                name = f"{'val' if number > 5 else 'train'}/town/town_{number:06}"
                image, masks = f"leftImg8bit/{name}_leftImg8bit.png", [f"gtFine/{name}_gtFine_labelTrainIds.png"]
            write(root / image, draws.integers(0, 256, (48, 64, 3), dtype=np.uint8))
            label = draws.integers(0, classes, (48, 64), dtype=np.uint8)
            for mask in masks:
                write(root / mask, np.where(draws.random((48, 64)) < 0.1, 255, label).astype(np.uint8))
            own = Path(image).stem if kind == "voc" else image
            pairs.append((own, f"{image} {masks[-1]}"))
        for folder_name in {Path(load(it).data.labeled).parent.name for it in PUBLISHED if kind in it}:
            published = "_" in folder_name  # UniMatch's folders, of pairs
            for split, chosen in (("labeled", pairs[:3]), ("unlabeled", pairs[3:6])):
                path = root / f"splits/{lists}/{folder_name}/{split}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("\n".join(pair[published] for pair in chosen))
        (root / f"splits/{lists}/val.txt").write_text("\n".join(pair[0] for pair in pairs[6:]))
    return found


VOC_MASKS = ("SegmentationClassAug", "SegmentationClass")


def opened(name: str, roots: dict[str, Path], *overrides: str) -> Config:
    """What `u2pl-ray train NAME data.root=...` would train."""
    return resolve(load(name, [f"data.root={roots['voc' if name.startswith('voc') else 'cityscapes']}", *overrides]))


def test_there_is_one_for_every_published_figure() -> None:
    names = presets()
    for split in (92, 183, 366, 732, 1464):
        assert {f"voc-classic-{split}", f"voc-classic-{split}-dinov2"} <= set(names)
    for share in ("1_16", "1_8", "1_4", "1_2"):
        assert {f"voc-blender-{share}", f"cityscapes-{share}", f"cityscapes-{share}-dinov2"} <= set(names)
    assert len(PUBLISHED) == 22
    assert all(preset.differs and preset.batch_size for name, preset in read_presets().items() if name in PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_reads_its_lists_and_masks(name: str, roots: dict[str, Path]) -> None:
    config = opened(name, roots, *SMALL)
    batch = next(TrainingBatches(config).epoch(0))
    assert batch.labels.shape == batch.unlabeled_labels.shape == (2, 32, 32)
    for labels in (batch.labels, batch.unlabeled_labels):
        seen = labels[labels != 255]
        assert len(seen)
        assert int(seen.max()) < len(config.data.classes)


def family_of(name: str) -> str:
    """The name without its split."""
    return re.sub(r"-(\d_)?\d+\b", "", name, count=1)


def two_steps(config: Config) -> dict[str, Any]:
    reports: list[dict[str, Any]] = []
    worker = Worker(config, LocalSession(None, reports.append), torch.device("cpu"))
    before = {name: value.clone() for name, value in worker.student.named_parameters()}
    worker.run()
    moved = [name for name, value in worker.student.named_parameters() if not torch.equal(value, before[name])]
    assert any(name.startswith("encoder.") for name in moved)
    assert any(name.startswith("decoder.") for name in moved)
    return reports[0]


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_differs_from_its_family_in_its_lists_only(name: str) -> None:
    """So that they can be compared."""
    lists = {"data": {"labeled", "unlabeled"}}
    (family,) = [load(it) for it in FAMILIES if family_of(it) == family_of(name)]
    assert load(name).model_dump(exclude=lists) == family.model_dump(exclude=lists)


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_takes_two_steps(name: str, roots: dict[str, Path]) -> None:
    """With the smallest network of its kind; all else is the preset's."""
    tiny = ["model.encoder=tu-resnet10t"]
    if "dinov2" in name:
        tiny = ["model.encoder=tu-vit_tiny_patch16_224", "model.options.decoder_intermediate_channels=[8,8,8,8]"]
        tiny += ["model.options.decoder_fusion_channels=16"]
    metrics = two_steps(opened(name, roots, *SMALL, *tiny))
    assert metrics["train/loss/supervised"] > 0
    assert metrics["train/loss/total"] >= metrics["train/loss/supervised"]


def test_two_steps_of_dinov2_with_dpt(roots: dict[str, Path]) -> None:
    two_steps(opened("voc-classic-92-dinov2", roots, *SMALL, "model.encoder=tu-vit_small_patch14_dinov2"))


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_two_steps_with_its_own_encoder(name: str, roots: dict[str, Path]) -> None:
    two_steps(opened(name, roots, *SMALL))


def test_the_networks_are_the_published_ones() -> None:
    config = load("cityscapes-1_4").model
    network: Any = blank(config, 19)
    assert network.encoder.model.conv1[0].weight.shape[:2] == (64, 3)
    assert network.encoder.model.conv1[6].weight.shape[:2] == (128, 64)
    assert network.auxiliary[0].weight.shape[:2] == (256, 1024)
    assert network.encoder.output_stride == 8


def test_the_rate_of_another_batch_size() -> None:
    assert rate_note("voc-classic-92", 16, 0.001, adaptive=False) == ""
    assert rate_note("voc-classic-92", 8, 0.002, adaptive=False) == ""  # chosen by someone
    assert rate_note("quickstart", 4, 0.05, adaptive=False) == ""
    assert "optim.lr=0.0005 for 8" in rate_note("voc-classic-92", 8, 0.001, adaptive=False)
    assert "optim.lr=2.5e-06 for 4" in rate_note("voc-classic-92-dinov2", 4, 5e-6, adaptive=True)
