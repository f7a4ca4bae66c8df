"""Whatever a user gets wrong is answered by one line that names it, exit code 2, and nothing half-written."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Run
from tests.data.voc_folder import Folder
from u2pl_ray.search.cluster import connection
from u2pl_ray.search.experiment import plan

SEARCH = ["search", "quickstart", "--space", "search_spaces/quickstart.yaml"]
SPACE = "metric: {name: val/miou, goal: maximize}\nparameters:\n  "


def assert_refused(result: tuple[int, str, str], storage: Path, *words: object) -> None:
    code, _, complaint = result
    assert code == 2, complaint
    lines = [line for line in complaint.splitlines() if not line.startswith("warning:")]
    assert len(lines) == 1, complaint
    assert lines[0].startswith("error: ")
    for word in words:
        assert str(word) in lines[0]
    left = list(storage.rglob("*")) if storage.exists() else []
    assert not left, left


def absent_root(voc: Folder) -> str:
    voc.root.rename(voc.root.with_name("elsewhere"))
    return str(voc.root)


def absent_image(voc: Folder) -> str:
    voc.image("u2").unlink()
    return "u2"


def wrong_label(voc: Folder) -> str:
    Image.fromarray(np.full((40, 48), 7, np.uint8)).save(voc.label("l1"))
    return str(voc.label("l1"))


def wrong_size(voc: Folder) -> str:
    Image.fromarray(np.zeros((20, 48), np.uint8)).save(voc.label("l0"))
    return str(voc.label("l0"))


def unreadable(voc: Folder) -> str:
    voc.image("u1").write_bytes(voc.image("u1").read_bytes()[:200])
    return str(voc.image("u1"))


def empty_split(voc: Folder) -> str:
    (voc.root / "labeled.txt").write_text("\n")
    return "labeled.txt"


@pytest.mark.parametrize("damage", [absent_root, absent_image, wrong_label, wrong_size, unreadable, empty_split])
@pytest.mark.parametrize("verb", ["train", "search"])
def test_damaged_data(run: Run, config: Path, voc: Folder, storage: Path, verb: str, damage: object) -> None:
    named = damage(voc)  # type: ignore[operator]
    more = ["--space", "search_spaces/paper.yaml", "--trials", "2"] if verb == "search" else []
    assert_refused(run(verb, config, *more), storage, named)


def test_a_class_without_a_labeled_image_is_a_warning(run: Run, config: Path, voc: Folder) -> None:
    for name in ("l0", "l1"):
        label = np.array(Image.open(voc.label(name)))
        Image.fromarray(np.where(label == 2, 0, label)).save(voc.label(name))
    code, _, complaint = run("data", "check", config)
    assert code == 0
    few, line = complaint.splitlines()
    assert few.startswith("warning: val has 1 image:")
    assert line.startswith("warning:")
    assert "dog" in line


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("metod.alpha.start=0.3", ["metod", "did you mean 'method'"]),
        ("method.alpha.strat=0.3", ["did you mean 'method.alpha.start'"]),
        ("method.alpha.start=1.5", ["method.alpha.start", "1.5"]),
        ("method.contrastive.low_rank=3", ["method.contrastive.low_rank"]),
        ("method.contrastive={low_rank: 3, high_rank: 20}", ["method.contrastive.low_rank", "3 classes"]),
        ("method.contrastive.low_rank=2.5", ["method.contrastive.low_rank"]),
        ("model.encoder=resnet19", ["model.encoder", "did you mean"]),
        ("workers=3", ["train.batch_size", "workers=3"]),
        ("data.crop=33", ["data.crop"]),
        ("train.keep_checkpoints=1", ["train.keep_checkpoints", "2"]),
        ("nonsense", ["nonsense", "key=value"]),
    ],
)
def test_wrong_settings(run: Run, config: Path, storage: Path, override: str, words: list[str]) -> None:
    assert_refused(run("train", config, override), storage, *words)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("method.contrastive.temprature: {min: 0.1, max: 1.0}", ["temprature", "did you mean"]),
        ("method.alpha.start: {min: 0.6, max: 0.1}", ["method.alpha.start", "0.6"]),
        ("method.alpha.start: {min: 0.1, max: 1.6}", ["method.alpha.start", "1.6"]),
        ("method.alpha.start: {distribution: unifrom, min: 0.1, max: 0.6}", ["unifrom", "uniform"]),
        ("method.alpha.start: {values: []}", ["method.alpha.start"]),
        ("workers: {values: [1, 2]}", ["workers"]),
    ],
)
def test_wrong_spaces(run: Run, config: Path, storage: Path, tmp_path: Path, body: str, words: list[str]) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(SPACE + body)
    assert_refused(run("search", config, "--space", file, "--trials", 2), storage, file, *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*SEARCH, "--trials", "0"], ["--trials 0"]),
        ([*SEARCH, "--hours", "0"], ["--hours 0"]),
        ([*SEARCH, "--patience", "-1"], ["--patience -1"]),
        ([*SEARCH, "--sampler-option", "x"], ["--sampler-option 'x'", "key=value"]),
        ([*SEARCH, "--sampler-option", "n_startup_trial=3"], ["did you mean 'n_startup_trials'"]),
        ([*SEARCH, "--scheduler-option", "grace=x"], ["grace 'x'"]),
        ([*SEARCH, "--objective", "perf/step_seconds"], ["--objective perf/step_seconds", "=minimize"]),
        ([*SEARCH, "--objective", "val/teacher/miou=maximize"], ["val/teacher/miou is named twice"]),
        ([*SEARCH, "--warm-start", "absent"], ["absent", "no such experiment"]),
        ([*SEARCH, "--study-url", "postgresql://me:secret@host/db"], ["--study-url", "PGPASSWORD"]),
        (["confirm", "absent"], ["absent", "no such experiment"]),
        (["extend", "absent", "--hours", "x"], ["--hours x"]),
        (["search", "quickstart", "--trials", "2"], ["--space"]),
        (["search", "quickstart", "--space", "nowhere.yaml"], ["nowhere.yaml"]),
        (["train", "quickstrat"], ["quickstrat", "did you mean 'quickstart'"]),
        (["train"], ["CONFIG"]),
        (["train", "quickstart", "--nmae", "x"], ["--nmae"]),
        (["trian", "quickstart"], ["trian"]),
        (["status", "absent"], ["absent", "no such experiment"]),
        (["resume", "absent"], ["absent"]),
        (["best", "absent"], ["absent"]),
        (["extend", "absent", "--trials", "+x"], ["--trials +x"]),
        (["evaluate", "absent"], ["absent", "no such checkpoint"]),
        (["predict", "absent", "also-absent.png"], ["also-absent.png"]),
        (["train", "quickstart", "--name", "../x"], ["../x"]),
    ],
)
def test_wrong_command_lines(run: Run, storage: Path, arguments: list[str], words: list[str]) -> None:
    assert_refused(run(*arguments), storage, *words)


def test_more_workers_than_the_cluster_has(
    run: Run, monkeypatch: pytest.MonkeyPatch, config: Path, storage: Path
) -> None:
    monkeypatch.setattr(plan, "connect", lambda: None)
    monkeypatch.setattr(plan, "nodes", lambda: [{"CPU": 2.0, "memory": 2.0**33}])
    grown = ["workers=8", "train.batch_size=16", "train.unlabeled_batch_size=16"]
    assert_refused(run("train", config, *grown), storage, "workers=8", "2 CPU", "= 0 trials")


@pytest.mark.parametrize("verb", ["train", "search"])
def test_a_cluster_that_does_not_answer(
    no_ray: None, run: Run, monkeypatch: pytest.MonkeyPatch, config: Path, storage: Path, verb: str
) -> None:
    monkeypatch.setattr(connection, "_PATIENCE", 0.0)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.2:1")
    more = ["--space", "search_spaces/paper.yaml", "--trials", "2"] if verb == "search" else []
    assert_refused(run(verb, config, *more), storage, "RAY_ADDRESS=127.0.0.2:1", "cannot connect", "unset RAY_ADDRESS")


def test_an_existing_name(run: Run, config: Path, storage: Path) -> None:
    taken = storage / "mine" / "file"
    taken.parent.mkdir(parents=True)
    taken.write_text("precious")
    code, _, complaint = run("train", config, "--name", "mine")
    assert code == 2
    assert len(complaint.splitlines()) == 1
    assert "mine" in complaint
    assert [path.name for path in storage.rglob("*")] == ["mine", "file"]
    assert taken.read_text() == "precious"


def test_dump_config_prints_what_load_accepts(run: Run, config: Path, storage: Path, tmp_path: Path) -> None:
    code, first, _ = run("train", config, "method.alpha.start=0.3", "--dump-config")
    assert code == 0
    again = tmp_path / "dumped.yaml"
    again.write_text(first)
    code, second, _ = run("train", again, "--dump-config")
    assert (code, second) == (0, first)
    assert "start: 0.3" in first
    assert not storage.exists()
