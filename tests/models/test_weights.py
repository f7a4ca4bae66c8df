from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from skimage import data as photographs
from torch.nn import functional as F

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import ModelConfig
from u2pl_ray.models.lite import read_package_weights
from u2pl_ray.models.segmentor import Segmentor, check_model
from u2pl_ray.models.weights import load_encoder_weights

RESNET = {"architecture": "FPN", "encoder": "resnet18"}
# ImageNet-1k class numbers.
TIGER_CATS = {281, 282, 285}
ESPRESSO = {967}
SHUTTLE = {812, 657}


def config(**values: object) -> ModelConfig:
    return ModelConfig.model_validate({"representation_dim": 8, **RESNET, **values})


def encoder_of(settings: ModelConfig) -> Any:
    return Segmentor(settings, num_classes=3).encoder


def random_state(seed: int = 1) -> dict[str, torch.Tensor]:
    """A torchvision ResNet-18's state, classifier included."""
    import torchvision  # type: ignore[import-untyped]

    torch.manual_seed(seed)
    return dict(torchvision.models.resnet18().state_dict())


@pytest.mark.parametrize(
    ("picture", "classes"),
    [("coffee", ESPRESSO), ("chelsea", TIGER_CATS), ("rocket", SHUTTLE)],
)
def test_the_packages_weights_know_photographs(picture: str, classes: set[int]) -> None:
    """The whole classifier, from the mapped weights: any layer in a wrong place would not know them."""
    model: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    model.load_state_dict(read_package_weights(), strict=True)
    image = torch.from_numpy(np.array(getattr(photographs, picture)())).permute(2, 0, 1)[None].float() / 255
    side = min(image.shape[2:])
    top, left = (image.shape[2] - side) // 2, (image.shape[3] - side) // 2
    image = F.interpolate(
        image[:, :, top : top + side, left : left + side], size=(224, 224), mode="bicubic", antialias=True
    )
    with torch.no_grad():
        logits = model.eval()((image - 0.5) / 0.5)
    assert int(logits.argmax()) in classes


def test_the_encoder_gets_the_packages_weights() -> None:
    settings = config(encoder="tu-tf_efficientnet_lite0", encoder_weights="package")
    encoder = encoder_of(settings)
    whole: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    whole.load_state_dict(read_package_weights())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = whole.eval().blocks(whole.bn1(whole.conv_stem(images)))
        torch.testing.assert_close(encoder.eval()(images)[-1], expected)


def test_the_package_is_of_one_encoder() -> None:
    with pytest.raises(UserError, match="tu-tf_efficientnet_lite0"):
        encoder_of(config(encoder_weights="package"))


def wrapped(prefix: str, nest: str | None) -> dict[str, Any]:
    state: dict[str, Any] = {prefix + name: value for name, value in random_state().items()}
    state["decoder.conv.weight" if "encoder" in prefix else prefix + "head.weight"] = torch.zeros(3)
    return state if nest is None else {"epoch": 3, nest: state}


@pytest.mark.parametrize(
    ("prefix", "nest"),
    [
        ("", None),  # torchvision
        ("module.encoder.", "model_state"),  # U2PL
        ("module.encoder.", "teacher_state"),
        ("module.backbone.", "model"),  # UniMatch
        ("backbone.", "ema"),
        ("encoder.", "student"),  # a checkpoint of ours
    ],
)
def test_every_form_of_a_checkpoint(tmp_path: Path, prefix: str, nest: str | None) -> None:
    torch.save(wrapped(prefix, nest), tmp_path / "weights.pth")
    encoder = encoder_of(config(encoder_weights=str(tmp_path / "weights.pth")))
    expected = random_state()
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("file", ["model.safetensors", "other.safetensors"])
def test_a_folder_of_safetensors(tmp_path: Path, file: str) -> None:
    save_file({f"encoder.{name}": value for name, value in random_state().items()}, tmp_path / file)
    encoder = encoder_of(config(encoder_weights=str(tmp_path)))
    assert torch.equal(encoder.conv1.weight, random_state()["conv1.weight"])


def test_stages_that_timm_renames(tmp_path: Path) -> None:
    torch.manual_seed(2)
    whole: Any = timm.create_model("convnext_atto", pretrained=False)
    torch.save(whole.state_dict(), tmp_path / "convnext.pth")
    encoder = encoder_of(config(encoder="tu-convnext_atto", encoder_weights=str(tmp_path / "convnext.pth")))
    assert torch.equal(encoder.model.stages_2.blocks[1].mlp.fc1.weight, whole.stages[2].blocks[1].mlp.fc1.weight)


def test_the_report_names_what_did_not_fit(tmp_path: Path) -> None:
    state = random_state()
    del state["bn1.bias"]
    state["layer1.0.conv1.weight"] = torch.zeros(2, 2)
    torch.save(state, tmp_path / "w.pth")
    settings = config(encoder_weights=str(tmp_path / "w.pth"))
    report = load_encoder_weights(encoder_of(config()), settings)
    assert report.missing == ("bn1.bias",)
    assert report.reshaped == ("layer1.0.conv1.weight",)
    assert report.unused == ("fc.weight", "fc.bias")
    assert report.matched == len(state) - 3
    assert "bn1.bias" in "\n".join(report.lines())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_bytes(b"no weights"), "not a readable file"),
        (lambda path: torch.save({"a": {"b": torch.ones(1)}}, path), "no network in"),
        (lambda path: torch.save({"a": torch.ones(1)}, path), "0 of 100 tensors fit"),
        (lambda path: torch.save(timm.create_model("resnet10t").state_dict(), path), "not of resnet18"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path: Path, make: Any, words: str) -> None:
    make(tmp_path / "weights.pth")
    with pytest.raises(UserError, match=words) as caught:
        encoder_of(config(encoder_weights=str(tmp_path / "weights.pth")))
    assert "model.encoder_weights=" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"encoder_weights": "imagnet"}, "did you mean 'imagenet'.*resnet18 has imagenet, ssl, swsl"),
        ({"encoder_weights": "None"}, "write null"),
        ({"encoder_weights": "None", "encoder": "tu-resnet18"}, "write null"),
    ],
)
def test_unknown_names_are_refused_before_the_start(values: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_model(config(**values))


def test_a_folder_hides_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("imagenet", "mine"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    check_model(config(encoder_weights="imagenet"))
    with pytest.raises(UserError, match=r"no such weights.* written \./mine"):
        check_model(config(encoder_weights="mine"))


def test_too_little_memory_is_no_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(random_state(), tmp_path / "w.pth")

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(MemoryError):
        encoder_of(config(encoder_weights=str(tmp_path / "w.pth")))
