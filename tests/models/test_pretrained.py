import re
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import torch
import torchvision  # type: ignore[import-untyped]

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.models.pretrained import check_weights
from u2pl_ray.models.segmentor import Segmentor, check_model

LITE: dict[str, object] = {"architecture": "FPN", "encoder": "tu-tf_efficientnet_lite0", "encoder_weights": "package"}
HALF: dict[str, object] = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}


def config(model: dict[str, object], data: dict[str, object] | None = None) -> Config:
    return Config.model_validate({"model": model, "data": data or {}})


def test_random_weights_need_nothing() -> None:
    assert check_weights(config({})) == []


def test_other_colours_than_the_weights_know_are_said() -> None:
    (warning,) = check_weights(config(LITE))
    assert "data.mean=[0.5,0.5,0.5] data.std=[0.5,0.5,0.5]" in warning


def test_the_weights_own_colours_are_well() -> None:
    assert check_weights(config(LITE, HALF)) == []


def test_group_norm_throws_away_what_batch_norm_has_learned(tmp_path: Path) -> None:
    (warning,) = check_weights(config({**LITE, "normalization": "group"}, HALF))
    assert re.match(r"model.normalization=group: .*model.encoder_weights=package are thrown away", warning)
    assert check_weights(config({**LITE, "normalization": "frozen"}, HALF)) == []
    plain: dict[str, object] = {"architecture": "FPN", "encoder": "tu-convnext_atto", "normalization": "group"}
    trained = Segmentor(config(plain).model, 2).encoder  # has LayerNorm, which stays
    torch.save(trained.state_dict(), tmp_path / "convnext.pth")
    assert check_weights(config({**plain, "encoder_weights": str(tmp_path / "convnext.pth")})) == []


def test_a_file_of_another_network_is_refused_before_the_start(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "resnet.pth")
    with pytest.raises(UserError, match=r"model.encoder_weights=.*not of tu-tf_efficientnet_lite0"):
        check_weights(config({**LITE, "encoder_weights": str(tmp_path / "resnet.pth")}))


def test_a_download_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The real way to the hub, offline and with an empty cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"model.encoder_weights=imagenet: could not be loaded for resnet18"):
        check_weights(config({"encoder": "resnet18", "encoder_weights": "imagenet"}))


def test_encoders_that_do_not_build_on_the_meta_device_are_checked_too() -> None:
    check_model(config({"architecture": "FPN", "encoder": "mit_b0"}).model)


def saved(state: dict[str, torch.Tensor], folder: Path) -> str:
    torch.save(state, folder / "weights.pth")
    return str(folder / "weights.pth")


def deep_stem() -> dict[str, torch.Tensor]:
    """The ResNet-50 with three convolutions in its stem, as U2PL and UniMatch publish theirs."""
    state = timm.create_model("resnet50s", num_classes=0).state_dict()
    return {f"module.encoder.{name}": value for name, value in state.items()}


@pytest.mark.parametrize(
    ("make", "encoder", "words"),
    [
        (lambda: torchvision.models.resnet18().state_dict(), "resnet34", "16 layers .* fits model.encoder=resnet18"),
        (lambda: torchvision.models.resnet34().state_dict(), "resnet18", "14 layers .* fits model.encoder=resnet34"),
        (lambda: torchvision.models.resnet50().state_dict(), "resnet101", "51 layers .* fits model.encoder=resnet50"),
        (deep_stem, "resnet50", "3 layers would stay random .* fits model.encoder=tu-resnet50s"),
    ],
)
def test_a_network_that_fits_in_part_is_refused(
    tmp_path: Path, make: Callable[[], dict[str, torch.Tensor]], encoder: str, words: str
) -> None:
    """Names and shapes of most layers agree, and yet the encoder would not be the pretrained one."""
    model: dict[str, object] = {"architecture": "FPN", "encoder": encoder, "encoder_weights": saved(make(), tmp_path)}
    with pytest.raises(UserError, match=words):
        check_weights(config(model))


def test_published_checkpoints_fit_the_encoder_with_the_deep_stem(tmp_path: Path) -> None:
    weights = saved(deep_stem(), tmp_path)
    assert check_weights(config({"architecture": "FPN", "encoder": "tu-resnet50s", "encoder_weights": weights})) == []


def test_what_stays_random_is_said(tmp_path: Path) -> None:
    state = torchvision.models.resnet18().state_dict()
    del state["bn1.bias"]
    state["layer1.0.conv1.weight"] = torch.zeros(2, 2)
    weights = saved(state, tmp_path)
    missing, reshaped = check_weights(config({"encoder": "resnet18", "encoder_weights": weights}))
    assert missing == f"model.encoder_weights={weights}: tensors of resnet18 stay random, absent there: bn1.bias"
    assert reshaped.endswith("stay random, of another shape there: layer1.0.conv1.weight")


@pytest.mark.parametrize("name", ["convnext_atto", "densenet121", "efficientvit_b0", "nf_regnet_b0", "hrnet_w18_small"])
@pytest.mark.parametrize("options", [{}, {"encoder_depth": 3, "decoder_channels": [64, 32, 16]}])
def test_timms_own_weights_fill_its_encoders(tmp_path: Path, name: str, options: dict[str, object]) -> None:
    """Whatever timm calls the stem there, and with fewer stages too."""
    weights = saved(timm.create_model(name).state_dict(), tmp_path)
    model: dict[str, object] = {"architecture": "Unet", "encoder": f"tu-{name}", "encoder_weights": weights}
    assert check_weights(config({**model, "options": options})) == []
