import gc
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from voc_folder import Folder, refused

from u2pl_ray.config.schema import Config
from u2pl_ray.data.check import check
from u2pl_ray.data.image_files import read_image
from u2pl_ray.data.loaders import EvaluationBatches, TrainingBatch, TrainingBatches, _TrainingDataset, steps_per_epoch
from u2pl_ray.data.transforms import normalise
from u2pl_ray.data.voc import read_label
from u2pl_ray.search.execution.failures import interruption


def batches(config: Config, epochs: int = 2, rank: int = 0, world_size: int = 1) -> list[TrainingBatch]:
    loader = TrainingBatches(config, rank, world_size)
    return [batch for epoch in range(epochs) for batch in loader.epoch(epoch)]


def assert_equal(first: list[TrainingBatch], second: list[TrainingBatch]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one, other, strict=True):
            assert a.dtype == b.dtype
            assert torch.equal(a, b)


def test_shapes_and_types(folder: Folder) -> None:
    batch = batches(folder.config())[0]
    assert batch.labeled_images.shape == batch.unlabeled_images.shape == (4, 3, 32, 32)
    assert batch.labels.shape == batch.unlabeled_labels.shape == (4, 32, 32)
    assert batch.labeled_images.dtype == torch.float32
    assert batch.labels.dtype == torch.uint8
    assert batch.unlabeled_valid.shape == (4, 32, 32)
    assert all(tensor.is_contiguous() for tensor in batch)


def test_padding_is_told_from_ignored_pixels(folder: Folder) -> None:
    """No pseudo-label belongs on padding, but one may belong where the image's own label says 255."""
    for path in folder.root.glob("SegmentationClass/u*"):
        path.unlink()
    config = folder.config(crop=64, scale=[0.5, 1.0], mean=[0, 0, 0], std=[1, 1, 1])
    for batch in batches(config):
        assert batch.unlabeled_valid.dtype == torch.bool
        padding = (batch.unlabeled_images == 0).all(dim=1)  # noise is black in all channels almost nowhere
        assert ((~batch.unlabeled_valid) != padding).float().mean() < 0.001
        assert padding.any(dim=(1, 2)).all()
        assert batch.unlabeled_valid.any(dim=(1, 2)).all()
        assert (batch.labels[(batch.labeled_images == 0).all(dim=1)] == 255).float().mean() > 0.999


def test_an_epoch_is_once_through_the_unlabeled_images(folder: Folder) -> None:
    config = folder.config()
    assert steps_per_epoch(config, 7) == 2
    assert steps_per_epoch(config, 8) == 2
    assert steps_per_epoch(config, 9) == 3
    assert TrainingBatches(config).steps == len(batches(config, epochs=1)) == 2


def test_configured_steps(folder: Folder) -> None:
    config = folder.config()
    config = config.model_copy(update={"train": config.train.model_copy(update={"steps_per_epoch": 5})})
    assert TrainingBatches(config).steps == len(batches(config, epochs=1)) == 5


@pytest.mark.parametrize("world_size", [2, 4])
def test_the_global_batch_does_not_depend_on_the_workers(folder: Folder, world_size: int) -> None:
    config = folder.config()
    whole = batches(config)
    ranks = [batches(config, rank=rank, world_size=world_size) for rank in range(world_size)]
    joined = [
        TrainingBatch(*(torch.cat(parts) for parts in zip(*step, strict=True))) for step in zip(*ranks, strict=True)
    ]
    assert_equal(joined, whole)


def test_loader_processes_change_nothing(folder: Folder) -> None:
    state = torch.get_rng_state()
    assert_equal(batches(folder.config(loader_workers=2)), batches(folder.config()))
    assert torch.equal(torch.get_rng_state(), state), "loading must not use up the training's random numbers"


def test_an_interrupted_epoch_goes_on(folder: Folder) -> None:
    config = folder.config(batch_size=2)
    whole = batches(config, epochs=3)
    first, second = TrainingBatches(config), TrainingBatches(config)
    steps = first.steps
    started = first.epoch(1)
    parts = [next(started), next(started), *second.epoch(1, start_step=2), *second.epoch(2)]
    assert_equal(parts, whole[steps:])


def test_a_dropped_epoch_does_not_disturb_the_next(folder: Folder) -> None:
    for processes in (0, 1):
        loader = TrainingBatches(folder.config(batch_size=2, loader_workers=processes))
        next(loader.epoch(0))
        assert_equal(list(loader.epoch(1)), batches(folder.config(batch_size=2))[loader.steps :])


def test_supervised_epochs_read_no_unlabeled_image(folder: Folder) -> None:
    config = folder.config()
    expected = batches(config, epochs=1)
    for path in folder.root.glob("JPEGImages/u*"):
        path.write_bytes(b"")
    found = list(TrainingBatches(config).epoch(0, unlabeled=False))
    assert found[0].unlabeled_images.shape == (0, 3, 32, 32)
    assert found[0].unlabeled_labels.shape == found[0].unlabeled_valid.shape == (0, 32, 32)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.labeled_images, other.labeled_images)
        assert torch.equal(one.labels, other.labels)


def test_unlabeled_labels_are_255_where_there_are_none(folder: Folder) -> None:
    assert any((batch.unlabeled_labels != 255).any() for batch in batches(folder.config()))
    for path in folder.root.glob("SegmentationClass/u*"):
        path.unlink()
    assert all((batch.unlabeled_labels == 255).all() for batch in batches(folder.config()))


@pytest.mark.parametrize("processes", [0, 1])
def test_a_bad_file_found_while_training_is_one_line(folder: Folder, processes: int) -> None:
    loader = TrainingBatches(folder.config(loader_workers=processes))
    folder.image("u2").write_bytes(b"gone")
    with refused(str(folder.image("u2")), "can't be read as an image"):
        for batch in loader.epoch(0):
            del batch


@pytest.mark.parametrize("processes", [0, 1])
def test_evaluation_sees_every_image_once_and_whole(folder: Folder, processes: int) -> None:
    config = folder.config(loader_workers=processes)
    for world_size in (1, 2, 3, 7) if processes == 0 else (2,):
        seen: list[str] = []
        for rank in range(world_size):
            data = EvaluationBatches(config, "val", rank, world_size)
            found = list(data)
            assert len(found) == len(data)
            assert sum(len(batch.ids) for batch in found) == data.images
            for batch in found:
                seen += batch.ids
                h, w = batch.size
                assert batch.images.shape == (len(batch.ids), 3, 64, 64 if w == 50 else 32)
                assert batch.labels.shape == batch.images.shape[:1] + batch.images.shape[2:]
                for name, image, label in zip(batch.ids, batch.images, batch.labels, strict=True):
                    np.testing.assert_array_equal(label[:h, :w].numpy(), read_label(folder.label(name), 3))
                    assert torch.equal(image, normalise(read_image(folder.image(name)), config.data))
                    assert (label == 255).sum() == label.numel() - h * w + 1  # the folder's labels ignore one pixel
        assert sorted(seen) == [f"v{i}" for i in range(5)]


def test_evaluation_groups_by_size(folder: Folder) -> None:
    data = EvaluationBatches(folder.config(), "val")
    sizes = [read_image(folder.image(f"v{i}")).shape[:2] for i in range(5)]
    assert sorted(len(batch.ids) for batch in data) == sorted(
        part for size in set(sizes) for part in ([2] * (sizes.count(size) // 2) + [1] * (sizes.count(size) % 2))
    )
    assert [batch.ids for batch in data] == [batch.ids for batch in data]


def test_an_image_that_is_turned_is_grouped_by_its_upright_size(folder: Folder) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    folder.write("v0", 40, 50)  # its mask is of the stored pixels
    Image.open(folder.image("v0")).save(folder.image("v0"), exif=exif)
    folder.write("v1", 50, 40)
    assert check(folder.config(), full=False)
    sizes = {name: batch.size for batch in EvaluationBatches(folder.config(), "val") for name in batch.ids}
    assert (sizes["v0"], sizes["v1"]) == ((50, 40), (50, 40))


def test_evaluation_needs_labels(folder: Folder) -> None:
    folder.label("v1").unlink()
    with refused("val.txt", "SegmentationClass/v1.png"):
        EvaluationBatches(folder.config(), "val")


def test_labels_of_another_size_are_refused_while_evaluating(folder: Folder) -> None:
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(folder.label("v1"))
    with refused(str(folder.label("v1")), "6x5"):
        list(EvaluationBatches(folder.config(), "val"))


def test_camvid(camvid: Path) -> None:
    config = Config.model_validate(
        {
            "data": {
                "root": str(camvid),
                "crop": 160,
                "labeled": "splits/1_8/labeled.txt",
                "unlabeled": "splits/1_8/unlabeled.txt",
            },
            "train": {"batch_size": 8, "unlabeled_batch_size": 8},
        }
    )
    loader = TrainingBatches(config)
    assert loader.steps == 41
    batch = next(loader.epoch(0))
    assert batch.labeled_images.shape == (8, 3, 160, 160)
    assert set(batch.labels.unique().tolist()) <= {*range(11), 255}
    assert abs(float(batch.labeled_images.mean())) < 2
    assert next(iter(EvaluationBatches(config, "test"))).images.shape == (4, 3, 192, 256)


def a_loader(folder: Folder) -> TrainingBatches:
    """Batches from one loader process, which may take two seconds for each; more of them than are loaded ahead."""
    config = folder.config(loader_workers=1)
    resources = config.resources.model_copy(update={"batch_seconds": 2.0})
    long = config.train.model_copy(update={"steps_per_epoch": 500})
    config = config.model_copy(update={"resources": resources, "train": long})
    return TrainingBatches(config)


def kill_and_read_on(pid: int, batches: Iterator[TrainingBatch]) -> None:
    """Torch raises as soon as it hears of the end, or where a batch is missing."""
    os.kill(pid, signal.SIGKILL)
    list(batches)


def test_a_loader_process_that_dies_is_an_interruption(folder: Folder) -> None:
    """As when memory, or /dev/shm, is too small."""
    before = {child.pid for child in multiprocessing.active_children()}
    batches = a_loader(folder).epoch(0)
    next(batches)
    (loader,) = (child for child in multiprocessing.active_children() if child.pid not in before)
    assert loader.pid is not None
    with pytest.raises(RuntimeError, match="DataLoader worker") as caught:
        kill_and_read_on(loader.pid, batches)
    why = interruption(caught.value)
    with suppress(RuntimeError):  # torch says it once more when it hears of the end, and then of every child's end
        loader.join(60)
    del caught, batches
    gc.collect()
    assert why is not None
    assert why.counts
    assert why.what.startswith("lost a loader process")


def test_a_disk_that_does_not_answer_is_an_interruption(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent, load = tmp_path / "silent", _TrainingDataset._load

    def load_or_hang(*arguments: Any) -> None:
        while silent.exists():
            time.sleep(0.1)
        load(*arguments)

    monkeypatch.setattr(_TrainingDataset, "_load", load_or_hang)
    batches = a_loader(folder).epoch(0)
    next(batches)
    silent.touch()
    with pytest.raises(RuntimeError, match="DataLoader timed out") as caught:
        list(batches)
    silent.unlink()
    why = interruption(caught.value)
    assert why is not None
    assert why.counts
    assert why.what.startswith("waited longer than resources.batch_seconds")
