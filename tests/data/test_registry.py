from pathlib import Path

import pytest
from voc_folder import Folder, refused

from u2pl_ray.config.schema import Config
from u2pl_ray.data.registry import DATASETS, resolve


def test_every_kind_of_the_schema_is_there() -> None:
    from typing import get_args

    from u2pl_ray.config.schema import DataConfig

    assert set(get_args(DataConfig.model_fields["dataset"].annotation)) == set(DATASETS)


def test_voc(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.root.parent)
    config = resolve(folder.config(root="set"))
    assert config.data.root == str(folder.root)
    assert config.data.classes == ("background", "cat", "dog")
    assert resolve(config) == config


def test_synthetic_resolves_anew_on_each_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("U2PL_RAY_CACHE", str(tmp_path / "one"))
    small = {"size": 32, "classes": 4, "labeled": 2, "unlabeled": 2, "val": 1, "test": 1}
    config = Config.model_validate(
        {"data": {"dataset": "synthetic", "synthetic": small}, "method": {"contrastive": {"low_rank": 2}}}
    )
    first = resolve(config)
    assert first.data.root.startswith(str(tmp_path / "one"))
    assert resolve(first) == first
    monkeypatch.setenv("U2PL_RAY_CACHE", str(tmp_path / "two"))
    second = resolve(first)
    assert second.data.root.startswith(str(tmp_path / "two"))
    assert Path(second.data.root).is_dir()


def test_everything_else_is_left_alone(folder: Folder) -> None:
    config = folder.config(crop=64, flip=0.25)
    found = resolve(config)
    assert found.model_copy(update={"data": config.data}) == config
    changed = {
        name for name in type(config.data).model_fields if getattr(found.data, name) != getattr(config.data, name)
    }
    assert changed == {"classes"}


def test_classes_are_compared_with_the_settings(folder: Folder) -> None:
    config = folder.config(classes=["a", "b"])
    assert resolve(config).data.classes == ("a", "b")
    wrong = Config.model_validate(config.model_dump() | {"method": {"contrastive": {"low_rank": 2}}})
    with refused("method.contrastive.low_rank=2", "2 classes"):
        resolve(wrong)
