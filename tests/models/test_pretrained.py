import re
from pathlib import Path

import huggingface_hub.constants
import pytest
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
