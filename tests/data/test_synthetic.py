import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from voc_folder import refused

from u2pl_ray.config.schema import Config, SyntheticConfig
from u2pl_ray.data import scenes, synthetic
from u2pl_ray.data.check import check
from u2pl_ray.data.registry import resolve
from u2pl_ray.data.scenes import CLASSES, draw_scene
from u2pl_ray.data.synthetic import cache_root, class_names, ensure
from u2pl_ray.data.voc import SPLITS

Cache = Callable[[], Path]
SMALL = SyntheticConfig(size=48, classes=4, labeled=3, unlabeled=4, val=2, test=2)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_it_is_just_another_voc_folder(cache: Cache) -> None:
    config = resolve(
        Config.model_validate(
            {"data": {"dataset": "synthetic", "synthetic": SMALL}, "method": {"contrastive": {"low_rank": 2}}}
        )
    )
    assert Path(config.data.root).parent == cache()
    assert config.data.classes == ("background", *CLASSES[:3])
    report = check(config)
    assert {split.name: split.images for split in report.splits} == {split: getattr(SMALL, split) for split in SPLITS}
    assert [line for line in report.warnings if not line.startswith("val has ")] == []
    train = (Path(config.data.root) / "ImageSets/Segmentation/train.txt").read_text().split()
    assert len(train) == 7


def test_it_is_the_same_each_time_and_everywhere(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ensure(SMALL)
    monkeypatch.setenv("U2PL_RAY_CACHE", str(tmp_path / "elsewhere"))
    second = ensure(SMALL)
    assert first != second
    assert contents(first) == contents(second)
    assert first.name == second.name


def test_it_is_written_once(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    root = ensure(SMALL)
    monkeypatch.setattr(scenes, "draw_scene", None)
    assert ensure(SMALL) == root


def test_values_and_version_have_folders_of_their_own(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = {ensure(SMALL), ensure(SMALL.model_copy(update={"seed": 1}))}
    monkeypatch.setattr(synthetic, "GENERATOR_VERSION", -1)
    roots.add(ensure(SMALL))
    assert len(roots) == 3


def test_a_larger_set_begins_with_the_smaller(cache: Cache) -> None:
    small, large = contents(ensure(SMALL)), contents(ensure(SMALL.model_copy(update={"unlabeled": 6})))
    assert all(large[name] == data for name, data in small.items() if name.endswith(".png"))


def test_an_interrupted_writing_leaves_nothing(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(scenes, "draw_scene", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ensure(SMALL)
    assert list(cache().iterdir()) == []
    assert ensure(SMALL).is_dir()


def test_several_processes_at_once(cache: Cache) -> None:
    code = f"from u2pl_ray.data.synthetic import *; print(ensure(SyntheticConfig(**{SMALL.model_dump()})))"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = {process.communicate(timeout=120)[0].strip() for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert [str(path) for path in cache().iterdir()] == list(answers)


def test_the_second_to_finish_gives_way(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    write = synthetic._write

    def overtaken(draft: Path, config: SyntheticConfig) -> None:
        write(draft, config)
        monkeypatch.setattr(synthetic, "_write", write)
        ensure(config)

    monkeypatch.setattr(synthetic, "_write", overtaken)
    root = ensure(SMALL)
    assert list(cache().iterdir()) == [root]


def test_others_may_read_the_cache(cache: Cache) -> None:
    assert stat.S_IMODE(ensure(SMALL).stat().st_mode) == 0o755


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("U2PL_RAY_CACHE", str(tmp_path / "file"))
    with refused("U2PL_RAY_CACHE", str(tmp_path / "file")):
        ensure(SMALL)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("U2PL_RAY_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_root() == Path("/home/someone/.cache/u2pl_ray")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_root() == Path("/xdg/u2pl_ray")
    monkeypatch.setenv("U2PL_RAY_CACHE", "own")
    assert cache_root() == Path(os.getcwd()) / "own"


@pytest.mark.parametrize("classes", [2, 6, 12])
@pytest.mark.parametrize("size", [32, 96])
def test_scenes(classes: int, size: int) -> None:
    config = SyntheticConfig(classes=classes, size=size)
    assert len(class_names(config)) == classes
    seen: set[int] = set()
    for number in range(classes - 1):
        image, label = draw_scene(config, np.random.default_rng(number), number)
        assert image.shape == (size, size, 3)
        assert label.shape == (size, size)
        assert image.dtype == label.dtype == np.uint8
        assert number + 1 in label, "class 1 + number is on top"
        seen |= set(np.unique(label).tolist())
    assert seen == set(range(classes))


def test_labels_can_be_looked_at(cache: Cache) -> None:
    drawn = Image.open(ensure(SMALL) / "SegmentationClass/labeled_0000.png")
    assert drawn.mode == "P"
    assert drawn.convert("RGB").getpixel((0, 0)) in {(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)}
