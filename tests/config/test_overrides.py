from pathlib import Path

import pytest
import yaml

from u2pl_ray.config import overrides
from u2pl_ray.config.checks import PAPER_RANKS, rank_window
from u2pl_ray.config.errors import UserError, first_line
from u2pl_ray.config.schema import Config


@pytest.mark.parametrize("name", overrides.presets())
def test_every_preset_loads_and_survives_a_round_trip(name: str) -> None:
    config = overrides.load(name)
    assert overrides.validate(yaml.safe_load(overrides.dump(config))) == config


SMALL = ["train.epochs=2", "method.warmup_epochs=1", "train.steps_per_epoch=5"]


@pytest.mark.parametrize("name", overrides.presets())
def test_the_line_that_makes_a_preset_small_fits_every_one(name: str) -> None:
    assert overrides.load(name, SMALL).train.epochs == 2
    assert f"u2pl-ray train quickstart {' '.join(SMALL)}" in (Path(__file__).parents[2] / "README.md").read_text()


def test_only_the_override_that_is_wrong_is_named() -> None:
    good = [f"seed={number}" for number in range(3)]
    with pytest.raises(UserError, match=r"^preset quickstart with trin\.epochs=2: trin: no such setting"):
        overrides.load("quickstart", [*good, "trin.epochs=2", "workers=1"])
    apart = ["train.epochs=6", "method.warmup_epochs=6"]
    with pytest.raises(UserError, match=f"^preset quickstart with {' '.join(apart)}: "):
        overrides.load("quickstart", apart)


def test_every_path_names_a_setting() -> None:
    config = Config()
    paths = overrides.paths()
    assert len(paths) == len(set(paths)) > 50
    for path in paths:
        overrides.get(config, path)


def test_the_defaults_are_the_papers() -> None:
    method = Config().method
    assert (method.alpha.start, method.alpha.end, method.alpha.kind) == (0.2, 0.0, "linear")
    assert (method.memory_bank.capacity, method.memory_bank.background_capacity) == (30_000, 50_000)
    contrastive = method.contrastive
    assert (contrastive.temperature, contrastive.anchors, contrastive.negatives, contrastive.weight) == (
        0.5,
        50,
        256,
        0.1,
    )
    assert contrastive.anchor_threshold == 0.3
    assert rank_window(contrastive, 21) == PAPER_RANKS == (3, 20)


def test_overrides_merge_and_lists_replace() -> None:
    config = overrides.load("camvid", ["data.scale=[0.8, 1.2]", "model.options.encoder_output_stride=8", "seed=3"])
    assert config.data.scale == (0.8, 1.2)
    assert config.model.options == {"encoder_output_stride": 8}
    assert config.seed == 3
    assert config.data.crop == 160  # the preset's, untouched


def test_apply_validates_anew() -> None:
    config = overrides.load("quickstart")
    changed = overrides.apply(config, {"method.alpha.start": 0.4, "optim.lr": 0.1})
    assert (changed.method.alpha.start, changed.optim.lr) == (0.4, 0.1)
    assert config.method.alpha.start == 0.2
    with pytest.raises(UserError, match=r"method\.alpha\.start"):
        overrides.apply(config, {"method.alpha.start": 2})


def test_scientific_notation_without_a_point_is_a_number() -> None:
    assert overrides.load("quickstart", ["optim.weight_decay=1e-5"]).optim.weight_decay == 1e-5


@pytest.mark.parametrize("value", [".nan", ".inf"])
def test_nan_and_infinity_are_refused(value: str) -> None:
    with pytest.raises(UserError, match=r"optim\.lr"):
        overrides.load("quickstart", [f"optim.lr={value}"])


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("a: [1, 2", "not valid YAML"),
        ("- 1\n- 2\n", "expected a mapping"),
        ("!!python/object:os.system {}", "not valid YAML"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, content: str, word: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    with pytest.raises(UserError, match=word) as caught:
        overrides.load(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_key_is_named_before_other_problems() -> None:
    with pytest.raises(UserError, match=r"epohcs.*did you mean 'train\.epochs'"):
        overrides.load("quickstart", ["train.epohcs=3", "optim.lr=-1"])


def test_relative_paths_on_the_command_line_belong_to_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker on another node, or `resume` from another folder, finds the same file."""
    monkeypatch.chdir(tmp_path)
    given = ["model.encoder_weights=weights/x.pth", "model.encoder=tu-local-dir:hub/one", "data.root=images"]
    config = overrides.load("camvid", given)
    assert config.model.encoder_weights == str(tmp_path / "weights/x.pth")
    assert config.model.encoder == f"tu-local-dir:{tmp_path / 'hub/one'}"
    assert config.data.root == str(tmp_path / "images")
    for text in ("imagenet", "~/x.pth", "/there/x.pth"):
        assert overrides.load("camvid", [f"model.encoder_weights={text}"]).model.encoder_weights == text
    assert overrides.load("camvid", ["data.root=s3://bucket/images"]).data.root == "s3://bucket/images"


def test_an_error_without_words_has_a_first_line() -> None:
    assert [first_line(error) for error in (AssertionError(), ValueError("a\nb"))] == ["AssertionError", "a"]
