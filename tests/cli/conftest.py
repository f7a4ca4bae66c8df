from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.voc_folder import Folder
from u2pl_ray.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The experiments' place for one test, W&B off."""
    monkeypatch.setenv("U2PL_RAY_STORAGE", str(tmp_path / "storage"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    return tmp_path / "storage"


@pytest.fixture
def run(storage: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process: exit code, what it printed, and what it complained of."""

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        code = ended.value.code
        return code if isinstance(code, int) else 0, said.out, said.err

    return call


@pytest.fixture
def voc(tmp_path: Path) -> Folder:
    """A small, sound data set of three classes."""
    folder = Folder.new(tmp_path / "set")
    lists = {"labeled.txt": "ll", "unlabeled.txt": "uuuu"}
    lists |= {f"ImageSets/Segmentation/{name}.txt": name[0] for name in ("val", "test")}
    for file, letters in lists.items():
        ids = [f"{letter}{index}" for index, letter in enumerate(letters)]
        folder.split(file, ids)
        for number, name in enumerate(ids):
            folder.write(name, 40, 48, seed=100 * ord(letters[0]) + number)  # no two splits share an image
    return folder


@pytest.fixture
def config(voc: Folder, tmp_path: Path) -> Path:
    """A configuration of that data set, as a user would write it."""
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"data: {{root: {voc.root}, crop: 32}}\n"
        "model: {encoder: tu-resnet10t, representation_dim: 8}\n"
        "method: {contrastive: {low_rank: 1, high_rank: 3}}\n"
        "train: {epochs: 2, batch_size: 2, unlabeled_batch_size: 4}\n"
    )
    return file
