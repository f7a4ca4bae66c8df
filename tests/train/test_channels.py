"""Images that are not 8-bit colours: trained on, drawn, predicted from a checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from u2pl_ray.config.overrides import validate
from u2pl_ray.config.schema import Config, ModelConfig
from u2pl_ray.data.registry import resolve
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.strong_view import StrongView, StrongViewConfig
from u2pl_ray.models.segmentor import Segmentor
from u2pl_ray.train import checkpoint
from u2pl_ray.train.inference import open_checkpoint
from u2pl_ray.train.loop import Worker
from u2pl_ray.train.overlay import write_prediction
from u2pl_ray.train.photographs import find_photographs, predict_photograph
from u2pl_ray.train.preflight import preflight
from u2pl_ray.train.session import LocalSession

CASES: dict[str, dict[str, Any]] = {
    "grey": {"channels": 1},
    "rgba": {"channels": 4},
    "multispectral": {"channels": 6, "value_range": [0, 4095]},
    "16-bit colours": {"value_range": [0, 65535]},
}

QUICK = "multispectral"
"""The case of the fast tests; the others train for ten seconds each."""


def config(root: Path, data: dict[str, Any], method: str = "u2pl") -> Config:
    channels, deep = data.get("channels", 3), "value_range" in data
    draws = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    for number in range(6):
        label = np.kron(draws.permutation(16).reshape(4, 4) % 3, np.ones((10, 12), int)).astype(np.uint8)
        most = data.get("value_range", [0, 255])[1]
        values = (label[..., None] + draws.random((40, 48, channels))) / 3 * most
        stored = values.astype(np.uint16 if deep else np.uint8)
        layout: dict[str, Any] = {"planarconfig": "contig"} if channels > 1 else {}
        pixels = stored[..., 0] if channels == 1 else stored
        tifffile.imwrite(root / "images" / f"{number}.TIF", pixels, photometric="minisblack", **layout)
        tifffile.imwrite(root / "masks" / f"{number}.tiff", label.astype(np.uint16))
    for name, rows in (("labeled", "012"), ("unlabeled", "34"), ("val", "5")):
        (root / f"{name}.txt").write_text("".join(f"{row}\n" for row in rows))
    places = {"root": str(root), "images": "images", "labels": "masks", "val": "val.txt", "test": None, "crop": 32}
    tree = {
        "data": {**places, "classes": ["a", "b", "c"], **data},
        "model": {"encoder": "tu-resnet10t", "representation_dim": 16, "options": {"decoder_channels": 32}},
        "train": {"epochs": 2, "batch_size": 2, "unlabeled_batch_size": 2, "steps_per_epoch": 2},
        "method": {"name": method, "warmup_epochs": 1},
        "optim": {"lr": 0.02},
        "tracking": {"images": 1},
    }
    return resolve(validate(tree))


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=name, marks=() if name == QUICK else pytest.mark.slow) for name, case in CASES.items()],
)
def test_trained_drawn_and_predicted(tmp_path: Path, case: dict[str, Any]) -> None:
    settings = config(tmp_path, case)
    assert preflight(settings) == []
    reports: list[dict[str, Any]] = []
    worker = Worker(settings, LocalSession(on_report=reports.append), torch.device("cpu"))
    worker.run()
    last = reports[-1]
    assert all(np.isfinite(last[f"train/loss/{name}"]) for name in ("supervised", "unsupervised", "contrastive"))
    drawn = [name for name in last["image_data"] if name.endswith(".image.jpg")]
    assert sorted(name.split(".")[0] for name in drawn) == ["unlabeled", "val"]
    folder = tmp_path / "epoch_00002"
    folder.mkdir()
    checkpoint.save(folder, worker.state())
    trained = open_checkpoint(str(folder))
    (photograph, *_) = find_photographs([tmp_path / "images"], tmp_path / "out")
    pixels, labels = predict_photograph(trained, "student", photograph.path, settings.evaluation)
    assert pixels.shape == (40, 48, case.get("channels", 3))
    assert labels.shape == (40, 48)
    overlay, _ = write_prediction(tmp_path / "out" / "0", pixels, labels, settings.data)
    assert Image.open(overlay).mode == "RGB"


def test_the_strong_view_leaves_out_what_needs_three_channels(tmp_path: Path) -> None:
    (warning,) = preflight(config(tmp_path, {"channels": 4}, "fixmatch"))
    assert "data.channels=4" in warning
    assert "left out" in warning
    strong = {"jitter": 1.0, "grayscale": 1.0, "blur": 0.0, "strength": 0.4}
    view = StrongView(StrongViewConfig(**strong), ([0.5] * 5, [0.2] * 5), 0, Collectives(torch.device("cpu")))
    images = torch.rand(3, 5, 16, 16) * 0.2 - 0.1
    out = view(images, 0, "test")
    for before, after in zip(images, out, strict=True):  # one factor and one offset for all channels
        line = np.polyfit(before.flatten().numpy(), after.flatten().numpy(), 1)
        np.testing.assert_allclose(np.polyval(line, before.flatten().numpy()), after.flatten().numpy(), atol=1e-4)
    assert not torch.equal(images, out)


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("encoder", ["tu-resnet10t", "resnet18"])
def test_pretrained_weights_are_adapted(tmp_path: Path, encoder: str, channels: int) -> None:
    colors = Segmentor(ModelConfig(encoder=encoder), 2, representation=False, seed=1).encoder
    torch.save(colors.state_dict(), tmp_path / "encoder.pth")
    weights = ModelConfig(encoder=encoder, encoder_weights=str(tmp_path / "encoder.pth"))
    adapted = Segmentor(weights, 2, representation=False, channels=channels).encoder
    grey = torch.randn(2, 1, 64, 64)
    # Summed for one channel, else repeated in turn and scaled to the same sum.
    first, second = (
        next(module for module in network.modules() if isinstance(module, torch.nn.Conv2d))
        for network in (colors.eval(), adapted.eval())
    )
    if channels == 1:
        torch.testing.assert_close(first(grey.expand(-1, 3, -1, -1)), second(grey), atol=1e-4, rtol=1e-4)
    else:
        order = [0, 1, 2, 0][:channels]
        torch.testing.assert_close(second.weight, first.weight[:, order] * 3 / channels)
    names = [name for name, value in adapted.state_dict().items() if value.ndim == 4]
    for name in names[1:]:
        assert torch.equal(adapted.state_dict()[name], colors.state_dict()[name])
