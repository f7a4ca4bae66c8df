"""Verbs that only look, and refusals, do not wait for libraries that they do not need."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.analysis.local_search import create, run
from tests.train.conftest import tiny

HEAVY = ("torch", "ray", "plotly", "sklearn", "pandas", "scipy", "wandb", "timm", "albumentations", "cv2")
PROGRAM = """
import sys
from u2pl_ray.cli import main
try:
    main(sys.argv[2:])
finally:
    print("imported:", *[name for name in sys.argv[1].split(",") if name in sys.modules])
"""
SPACE = "parameters:\n  method.contrastive.temperature: {min: 0.1, max: 1.0}\n"


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("storage")
    run(create(folder, tiny(), SPACE, trials=1, name="done"))
    return folder


def imported(*arguments: str) -> tuple[int, list[str]]:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, ",".join(HEAVY), *arguments], capture_output=True, text=True, check=False
    )
    line = ended.stdout.splitlines()[-1]
    assert line.startswith("imported:"), ended.stderr
    return ended.returncode, line.split()[1:]


@pytest.mark.parametrize("verb", [["status"], ["status", "--json"], ["best"], ["best", "--json"]])
def test_looking_at_a_finished_experiment(storage: Path, verb: list[str]) -> None:
    assert imported(verb[0], "done", "--storage-path", str(storage), *verb[1:]) == (0, [])


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "quickstart", "train.epoch=3"],
        ["train", "quickstrat"],
        ["search", "quickstart", "--space", "x.yaml", "method.alpha.begin=0.3"],
        ["status", "no-such-experiment"],
        ["resume", "no-such-experiment"],
        ["--help"],
    ],
)
def test_refusals(arguments: list[str], storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("U2PL_RAY_STORAGE", str(storage))
    assert imported(*arguments) == (0 if arguments == ["--help"] else 2, [])
