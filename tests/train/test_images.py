"""The handful of images: what they show, when they are drawn, and that a training does not notice."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tests.train.conftest import tiny, without_timing
from tests.train.test_loop import CPU, assert_same_state, train
from u2pl_ray.config.schema import Config, DataConfig
from u2pl_ray.data.overlay import class_colors
from u2pl_ray.data.transforms import normalise
from u2pl_ray.data.voc import open_split, read_item
from u2pl_ray.method.reliability import entropy
from u2pl_ray.train.images import SampleImages, image_files
from u2pl_ray.train.loop import Worker
from u2pl_ray.train.prediction import logit_bands, predict
from u2pl_ray.train.session import LocalSession


def decoded(files: dict[str, str]) -> dict[str, np.ndarray]:
    """Pictures by file name, as they are stored: RGB, or indices."""
    return {name: np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for name, text in files.items()}


def test_metrics_and_weights_are_those_of_a_training_without_images() -> None:
    (one, shown), (two, bare) = train(tiny("tracking.images=3")), train(tiny("tracking.images=0"))
    assert ["image_data" in report for report in shown] == [False, True, True]  # one warm-up epoch
    assert not any("image_data" in report for report in bare)
    assert [without_timing(report) for report in shown] == [without_timing(report) for report in bare]
    states = [{**worker.state(), "config": None} for worker in (one, two)]
    assert_same_state(*states)


def test_images_show_what_the_networks_say() -> None:
    config = tiny("tracking.images=2", "data.synthetic.size=72")  # not a multiple of 32
    worker = untrained(config)
    items = {split: open_split(config.data, split)[0] for split in ("val", "unlabeled")}
    labels = {split: read_item(item, 6) for split, item in items.items()}
    image = normalise(labels["unlabeled"][0], config.data).unsqueeze(0)
    with torch.no_grad():
        logits = worker.teacher.module(image).logits
    entropies = entropy(F.interpolate(logits, image.shape[-2:], mode="bilinear"))[0, :72, :72]
    metrics = {"diag/gamma": float(entropies.quantile(0.7)), "diag/alpha": 0.3}
    found = decoded(drawn(worker, metrics))
    assert worker.student.training

    kinds = {"val": {"image", "truth", "prediction"}, "unlabeled": {"image", "pseudo_label", "reliable", "truth"}}
    parts = [tuple(name.split(".")) for name in found]
    assert {(split, number, kind) for split, number, _, kind, _ in parts} == {
        (split, number, kind) for split in kinds for number in "01" for kind in kinds[split]
    }
    assert {picture.shape[:2] for picture in found.values()} == {(72, 72)}
    worker.student.eval()
    networks = {"val": (worker.student, "prediction"), "unlabeled": (worker.teacher.module, "pseudo_label")}
    for split, (network, kind) in networks.items():
        stem, (pixels, truth) = f"{split}.0.{items[split].id}", labels[split]
        assert np.abs(found[f"{stem}.image.jpg"].astype(int) - pixels).mean() < 8
        assert (found[f"{stem}.truth.png"] == truth).all()
        expected = predict(network, normalise(pixels, config.data).unsqueeze(0))[0, :72, :72]
        assert (found[f"{stem}.{kind}.png"] == expected.numpy()).mean() > 0.999
    reliable = found[f"unlabeled.0.{items['unlabeled'].id}.reliable.png"]
    assert reliable.mean() == pytest.approx(0.7, abs=0.02)
    assert (reliable == (entropies.numpy() < metrics["diag/gamma"])).mean() > 0.999


def test_maps_are_translucent_where_there_is_a_label() -> None:
    worker = untrained(tiny("tracking.images=1", "method.name=supervised"))
    files = drawn(worker, {})
    assert sorted(name.rpartition(".")[0].rpartition(".")[2] for name in files) == ["image", "prediction", "truth"]
    [content] = [content for name, content in files.items() if name.endswith("truth.png")]
    picture = Image.open(io.BytesIO(base64.b64decode(content)))
    opacities = np.asarray(picture.convert("RGBA"))[..., 3]
    assert set(np.unique(opacities)) <= {0, 140}
    assert ((opacities == 0) == (np.asarray(picture) == 255)).all()


@pytest.mark.parametrize(
    ("epochs", "warmup", "name", "expected"),
    [
        (10, 4, "u2pl", [5, 7, 9, 10]),
        (80, 1, "u2pl", [2, 22, 42, 62, 80]),
        (3, 1, "pseudo_label", [2, 3]),
        (5, 2, "supervised", [1, 2, 3, 4, 5]),
        (2, 1, "u2pl", [2]),
    ],
)
def test_when_images_are_due(epochs: int, warmup: int, name: str, expected: list[int]) -> None:
    config = tiny(f"train.epochs={epochs}", f"method.warmup_epochs={warmup}", f"method.name={name}")
    images = SampleImages(config, open_split(config.data, "val"), ())
    assert [epoch for epoch in range(1, epochs + 1) if images.due(epoch)] == expected


def test_an_epoch_that_is_reported_again_has_its_images_again(tmp_path: Path) -> None:
    config = tiny("tracking.images=1", "method.name=pseudo_label")
    _, reports = train(config, tmp_path)
    _, again = train(config, tmp_path, reported=1)
    assert again[-1]["image_data"] == reports[-1]["image_data"]
    assert "image_data" not in again[0]  # its weights are gone


def test_large_images_are_scaled_down_with_their_maps() -> None:
    labels = np.arange(4, dtype=np.uint8).repeat(160)[None].repeat(480, 0)  # four bars
    files = image_files("val.0.x", np.zeros((480, 640, 3), np.uint8), {"truth": labels}, class_colors(DataConfig()))
    found = {name: np.asarray(Image.open(io.BytesIO(content))) for name, content in files.items()}
    assert found["val.0.x.image.jpg"].shape == (240, 320, 3)
    assert (found["val.0.x.truth.png"] == labels[::2, ::2]).all()


@pytest.mark.parametrize("rule", ["entropy and probability", "probability", "entropy of the class"])
def test_what_is_drawn_as_reliable_is_what_the_method_calls_so(rule: str) -> None:
    config = tiny("tracking.images=1")
    item = open_split(config.data, "unlabeled")[0]
    image = normalise(read_item(item, 6)[0], config.data).unsqueeze(0)
    with torch.no_grad():
        logits = untrained(config).teacher.module(image).logits
    logits = F.interpolate(logits, image.shape[-2:], mode="bilinear")
    entropies, (sure, labels) = entropy(logits)[0].numpy(), (it[0].numpy() for it in logits.softmax(1).max(1))
    least, gamma = float(np.quantile(sure, 0.4)), float(np.quantile(entropies, 0.7))
    gammas = [float(np.median(entropies[labels == index])) if (labels == index).any() else 0.0 for index in range(6)]
    settings, expected = {
        "entropy and probability": ([f"confidence={least}"], (entropies < gamma) & (sure >= least)),
        "probability": ([f"confidence={least}"], sure >= least),
        "entropy of the class": (["per_class=true"], entropies < np.array(gammas)[labels]),
    }[rule]
    name = "fixmatch" if rule == "probability" else "u2pl"
    chosen = tiny("tracking.images=1", f"method.name={name}", *(f"method.reliability.{it}" for it in settings))
    metrics = {"diag/gamma": gamma, "diag/alpha": 0.2}
    metrics |= {f"diag/gamma/{it}": value for it, value in zip(config.data.classes, gammas, strict=True)}
    found = decoded(drawn(untrained(chosen), metrics))
    assert 0.2 < expected.mean() < 0.8
    assert (found[f"unlabeled.0.{item.id}.reliable.png"] == expected).mean() > 0.99


def drawn(worker: Worker, metrics: dict[str, Any]) -> dict[str, str]:
    return worker.images.draw(worker.student, worker.teacher.module, worker.objective, metrics, CPU)


def untrained(config: Config) -> Worker:
    return Worker(config, LocalSession(None), CPU)


def test_images_are_seen_by_windows_where_evaluation_does() -> None:
    """Whole images may fit neither the network nor the memory."""
    config = tiny("tracking.images=1", "data.synthetic.size=72", "evaluation.window=32", "evaluation.average=logits")
    worker = untrained(config)
    items = {split: open_split(config.data, split)[0] for split in ("val", "unlabeled")}
    networks = {"val": worker.student, "unlabeled": worker.teacher.module}
    images = {split: normalise(read_item(item, 6)[0], config.data).unsqueeze(0) for split, item in items.items()}
    bands = logit_bands(worker.teacher.module, images["unlabeled"][..., :72, :72], config.evaluation)
    entropies = entropy(torch.cat(list(bands), 2))[0]
    gamma = float(entropies.median())
    sizes: list[torch.Size] = []
    for network in networks.values():
        network.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[-2:]))
    found = decoded(drawn(worker, {"diag/gamma": gamma, "diag/alpha": 0.3}))
    assert set(sizes) == {(32, 32)}
    worker.student.eval()
    for split, kind in {"val": "prediction", "unlabeled": "pseudo_label"}.items():
        expected = predict(networks[split], images[split], (72, 72), config.evaluation)[0]
        assert (found[f"{split}.0.{items[split].id}.{kind}.png"] == expected.numpy()).all()
    reliable = found[f"unlabeled.0.{items['unlabeled'].id}.reliable.png"]
    assert (reliable == (entropies < gamma).numpy()).mean() > 0.999


def test_images_that_cannot_be_drawn_end_no_training(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(network: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        if not network.training and len(inputs[0]) == 1:  # one image at a time is drawn, and none else
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB")

    reports: list[dict[str, Any]] = []
    worker = Worker(tiny("tracking.images=1", "train.eval_batch_size=5"), LocalSession(None, reports.append), CPU)
    worker.student.register_forward_pre_hook(refuse)
    worker.run()
    assert worker.position.epochs_done == len(reports) == 3
    assert not any("image_data" in report for report in reports)
    assert "no sample images of epoch 2 could be drawn: CUDA out of memory" in capsys.readouterr().out
