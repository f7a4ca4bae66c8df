"""evaluate, export --weights and predict on a checkpoint, in this process and without Ray."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from tests.cli.conftest import Run
from tests.train.conftest import tiny
from u2pl_ray.analysis.evaluations import read_results, split_sha256
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import ModelConfig
from u2pl_ray.data.overlay import with_legend
from u2pl_ray.data.voc import open_split
from u2pl_ray.models.segmentor import Segmentor
from u2pl_ray.system.home import under_home
from u2pl_ray.train import checkpoint as checkpoints
from u2pl_ray.train.inference import open_checkpoint, score
from u2pl_ray.train.loop import Worker
from u2pl_ray.train.session import LocalSession


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose student and teacher differ and whose predictions vary over an image."""
    worker = Worker(tiny("train.channels_last=true"), LocalSession(), torch.device("cpu"))
    with torch.no_grad():
        for number, network in enumerate((worker.student, worker.teacher.module)):
            network.classifier.weight.normal_(0.0, 5.0, generator=torch.Generator().manual_seed(number))  # type: ignore
    worker.position.epochs_done = 3
    folder = tmp_path_factory.mktemp("trained") / "epoch_00003"
    checkpoints.save(folder, worker.state())
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def evaluated(run: Run, *arguments: object) -> dict[str, Any]:
    code, said, complaint = run("evaluate", *arguments, "--json")
    assert code == 0, complaint
    result: dict[str, Any] = json.loads(said)
    return result


def test_results_say_what_was_scored_and_nothing_is_overwritten(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    first = evaluated(run, checkpoint)
    assert (first["split"], first["images"], first["epochs"]) == ("test", 3, 3)
    assert first["networks"] == ["student", "teacher"]
    assert first["checkpoint"] == under_home(str(checkpoint))
    assert first["checkpoint_sha256"] == (checkpoint / "checkpoint.sha256").read_text()
    assert first["mode"] == {
        "window": None, "stride": None, "average": "softmax", "flip": False, "scales": [1.0], "boundary": 0.02,
    }  # fmt: skip
    assert {"val/miou", "val/teacher/miou", "val/boundary/miou", "val/teacher/boundary/miou"} <= first["metrics"].keys()
    assert first["metrics"]["val/miou"] != first["metrics"]["val/teacher/miou"]
    items = open_split(tiny().data, "test")
    assert first["data"]["sha256"] == split_sha256(reversed(items)) != split_sha256(items[1:])
    assert first["training"]["lists"]["labeled"]["images"] == 8
    assert set(first["versions"]) >= {"torch", "u2pl_ray"}

    kept = read_results(tmp_path / "results.json")
    assert kept == [first]
    _, _, told = run("evaluate", checkpoint)
    assert "has the same result already" in told
    assert read_results(tmp_path / "results.json") == [first]
    second = evaluated(run, checkpoint, "--window", 32, "--flip", "--scales", "0.75,1.0", "--boundary", 0)
    assert second["mode"] == {
        "window": 32, "stride": 22, "average": "softmax", "flip": True, "scales": [0.75, 1.0], "boundary": None,
    }  # fmt: skip
    assert second["metrics"]["val/miou"] != first["metrics"]["val/miou"]
    assert not any("boundary" in name for name in second["metrics"])
    by_override = evaluated(run, checkpoint, "evaluation={window: 32, flip: true, scales: [0.75, 1.0]}", "--boundary=0")
    assert by_override["metrics"] == second["metrics"]
    assert read_results(tmp_path / "results.json") == [first, second]


def test_a_file_that_is_no_results_is_left_alone(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    for content in ("precious", "[]", '{"format": 2, "results": []}'):
        (tmp_path / "results.json").write_text(content)
        code, said, complaint = run("evaluate", checkpoint)
        assert (code, said) == (2, "")
        assert "results.json" in complaint
        assert "--output" in complaint
        assert (tmp_path / "results.json").read_text() == content


def test_the_table_shows_every_network_and_class(run: Run, checkpoint: Path) -> None:
    code, said, _ = run("evaluate", checkpoint, "--split", "val", "--network", "teacher")
    assert code == 0
    assert "5 val images" in said
    assert "student" not in said
    assert said.count("boundary") == 1
    for name in tiny().data.classes:
        assert name in said


def test_exported_weights_score_as_their_network_does(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    both = evaluated(run, checkpoint)
    for network, prefix in (("teacher", "val/teacher/"), ("student", "val/")):
        file = tmp_path / f"{network}.safetensors"
        code, said, complaint = run("export", checkpoint, "--weights", file, "--network", network)
        assert code == 0, complaint
        assert said.startswith(f"{file}  (the {network} after 3 epochs")
        alone = evaluated(run, file)
        assert alone["networks"] == [network]
        assert alone["epochs"] == 3
        others = "val/teacher/" if network == "student" else None
        expected = {
            name: value
            for name, value in both["metrics"].items()
            if name.startswith(prefix) and not (others and name.startswith(others))
        }
        assert alone["metrics"] == expected
        code, _, complaint = run("export", checkpoint, "--weights", file)
        assert code == 2
        assert "exists already" in complaint


def test_weights_carry_their_configuration_but_no_account(
    run: Run, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = open_checkpoint(str(checkpoint))
    monkeypatch.setenv("HOME", str(Path(trained.config.data.root).parent))
    run("export", checkpoint, "--weights", tmp_path / "w.safetensors")
    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        metadata = file.metadata()
        keys = list(file.keys())
    config = json.loads(metadata["config"])
    assert config["data"]["root"] == f"~/{Path(trained.config.data.root).name}"
    assert config["data"]["classes"] == list(trained.config.data.classes)
    assert config["tracking"]["entity"] is None
    assert str(Path.home()) not in json.dumps(metadata)
    assert not any(key.startswith("representation") for key in keys)
    assert evaluated(run, tmp_path / "w.safetensors")["images"] == 3  # and data.root is found again


def test_an_encoder_starts_from_exported_weights(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    run("export", checkpoint, "--weights", tmp_path / "w.safetensors")
    trained = open_checkpoint(str(checkpoint), ("teacher",))
    model = ModelConfig.model_validate(
        {**trained.config.model.model_dump(), "encoder_weights": str(tmp_path / "w.safetensors")}
    )
    encoder = Segmentor(model, num_classes=2).encoder.state_dict()
    for name, value in trained.networks["teacher"].encoder.state_dict().items():
        assert torch.equal(encoder[name], value) or name.endswith("num_batches_tracked"), name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--weights", "w.pt"], ["--weights w.pt", "w.safetensors"]),
        (["--weights", "w.safetensors", "--network", "both"], ["--network both", "teacher and student"]),
        (["--weights", "w.safetensors", "-o", "x.yaml"], ["--output"]),
        (["--weights", "/proc/w.safetensors"], ["--weights /proc/w.safetensors"]),
    ],
)
def test_exports_that_cannot_be(run: Run, checkpoint: Path, arguments: list[str], words: list[str]) -> None:
    code, _, complaint = run("export", checkpoint, *arguments)
    assert code == 2
    assert len(complaint.splitlines()) == 1
    for word in words:
        assert word in complaint


def test_weights_of_others_are_refused_in_one_line(run: Run, tmp_path: Path) -> None:
    save_file({"encoder.weight": torch.ones(2)}, tmp_path / "theirs.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(b"\x20\x00")
    for name, word in (("theirs", "export NAME --weights"), ("torn", "not a readable safetensors file")):
        code, _, complaint = run("evaluate", tmp_path / f"{name}.safetensors")
        assert code == 2
        assert len(complaint.splitlines()) == 1
        assert word in complaint


def test_a_folder_is_predicted_though_a_file_in_it_is_bad(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "town").mkdir(parents=True)
    for name, size in (("a.png", (45, 70)), ("town/b.jpg", (64, 33)), ("town/c.png", (40, 40))):
        pixels = np.random.default_rng(len(name)).integers(0, 255, (*size[::-1], 3)).astype(np.uint8)
        Image.fromarray(pixels).save(photos / name)
    (photos / "bad.png").write_bytes(b"no image")
    (photos / "half.jpg").write_bytes((photos / "town" / "b.jpg").read_bytes()[:400])
    code, said, complaint = run("predict", checkpoint, photos, "-o", tmp_path / "out")
    assert code == 1
    lines = [line for line in complaint.splitlines() if not line.startswith("  ")]
    assert lines.pop(0).startswith("3 images predicted; share of pixels")
    shares = [line.split() for line in complaint.splitlines() if line.startswith("  ")]
    maps = [np.asarray(Image.open(path)) for path in (tmp_path / "out").rglob("*_labels.png")]
    counts = np.bincount(np.concatenate([labels.ravel() for labels in maps]))
    order = [label for label in np.argsort(-counts, kind="stable") if counts[label]]
    assert [float(row[1]) for row in shares] == [round(float(100 * counts[label] / counts.sum()), 2) for label in order]
    assert [int(row[3]) for row in shares] == [sum((labels == label).any() for labels in maps) for label in order]
    assert [Path(line.split(": ")[1]).name for line in lines[:-1]] == ["bad.png", "half.jpg"]
    assert lines[-1] == "2 of 5 images were not predicted"
    names = ["a_overlay.png", "a_labels.png", "town/b_overlay.png", "town/b_labels.png"]
    names += ["town/c_overlay.png", "town/c_labels.png"]
    assert said.splitlines() == [str(tmp_path / "out" / name) for name in names]
    assert Image.open(tmp_path / "out" / "a_labels.png").size == (45, 70)

    before = (tmp_path / "out" / "a_labels.png").read_bytes()
    code, said, complaint = run("predict", checkpoint, photos, "-o", tmp_path / "out", "--network", "student")
    assert (code, said) == (2, "")
    assert "a_overlay.png (and 5 more): exists already" in complaint
    assert (tmp_path / "out" / "a_labels.png").read_bytes() == before
    shutil.rmtree(photos / "town")
    for name in ("bad.png", "half.jpg"):
        (photos / name).unlink()
    student = ("predict", checkpoint, photos, "-o", tmp_path / "out", "--network", "student", "--force")
    assert run(*student)[0] == 0
    assert (tmp_path / "out" / "a_labels.png").read_bytes() != before


def test_an_overlay_too_large_for_the_memory_does_not_end_the_others(
    run: Run, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real failed allocation, for the larger of two images."""
    for name, side in (("a.png", 64), ("b.png", 32)):
        Image.new("RGB", (side, side)).save(tmp_path / name)

    def greedy(picture: np.ndarray, *rest: Any) -> np.ndarray:
        np.empty(2**60 if len(picture) == 64 else 1, np.uint8)
        return with_legend(picture, *rest)

    monkeypatch.setattr("u2pl_ray.train.overlay.with_legend", greedy)
    code, said, complaint = run("predict", checkpoint, tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "out")
    assert code == 1
    assert "a.png: too little memory for its overlay" in complaint
    assert complaint.endswith("1 of 2 images were not predicted\n")
    assert [Path(line).name for line in said.splitlines()] == ["b_overlay.png", "b_labels.png"]


def test_predictions_by_windows(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(5).integers(0, 255, (100, 90, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = []
    for number, options in enumerate(([], ["--window", "32", "--stride", "16"], ["--flip"])):
        code, _, complaint = run("predict", checkpoint, tmp_path / "a.png", "-o", tmp_path / str(number), *options)
        assert code == 0, complaint
        found.append(np.array(Image.open(tmp_path / str(number) / "a_labels.png")))
    assert (found[0] != found[1]).any()
    assert (found[0] != found[2]).any()
    assert run("predict", checkpoint, tmp_path / "a.png", "--stride", "16")[0] == 2
    assert run("predict", checkpoint, tmp_path / "a.png", "--scales", "1,x")[0] == 2


def test_other_classes_are_refused(checkpoint: Path, run: Run) -> None:
    code, _, complaint = run("evaluate", checkpoint, "data.synthetic.classes=4")
    assert code == 2
    assert "4 classes" in complaint


def test_data_that_the_networks_would_misread_is_refused(
    checkpoint: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = open_checkpoint(str(checkpoint))
    for changed, words in (
        ({"classes": trained.config.data.classes[::-1]}, "data.classes: in another order"),
        ({"channels": 1, "mean": (0.4,), "std": (0.2,)}, "data.channels: is 1, but the checkpoint was trained with"),
        ({"mean": (0.5, 0.5, 0.5)}, "data.mean=[0.485, 0.456, 0.406]"),
        ({"std": (0.5, 0.5, 0.5)}, "data.std: is [0.5, 0.5, 0.5]"),
    ):
        data = trained.config.data.model_copy(update=changed)
        with pytest.raises(UserError, match=re.escape(words)):
            score(trained, trained.config.model_copy(update={"data": data}), "val")
    assert run("evaluate", checkpoint, "data.mean=[0.5,0.5,0.5]")[0] == 2


def test_too_little_memory_is_one_line(checkpoint: Path) -> None:
    """A real failed allocation, where validation needs one."""
    trained = open_checkpoint(str(checkpoint), ("teacher",))
    trained.networks["teacher"].register_forward_pre_hook(lambda *_: torch.empty(2**60, dtype=torch.uint8))
    with pytest.raises(UserError, match=r"images at once are too many for the memory of this machine.*eval_batch_size"):
        score(trained, trained.config, "val")


def test_networks_that_a_file_does_not_hold(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    run("export", checkpoint, "--weights", tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="holds the teacher, not the student"):
        open_checkpoint(str(tmp_path / "w.safetensors"), ("student",))
