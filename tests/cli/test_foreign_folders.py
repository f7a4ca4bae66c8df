"""A storage, or an experiment in it, that is somebody else's: one line and exit code 2, for every verb."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.analysis.local_search import create
from tests.train.conftest import tiny

SPACE = "parameters:\n  method.contrastive.temperature: {min: 0.1, max: 1.0}\n"
NOBODY = 65534
_NO_RIGHTS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
"""Root like any other user: it may enter its own folders alone."""

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="root alone can make somebody else's folder"
)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Somebody else's folder, which nobody else may enter, with an experiment."""
    folder = tmp_path / "theirs"
    create(folder, tiny(), SPACE, trials=2, name="mine")
    os.chown(folder, NOBODY, NOBODY)
    folder.chmod(0o700)
    return folder


def call(*arguments: object) -> tuple[int, str, list[str]]:
    """Call the program without rights on others' files: exit code, what it printed, lines of its complaint."""
    command = [*_NO_RIGHTS, sys.executable, "-m", "u2pl_ray", *map(str, arguments)]
    ended = subprocess.run(command, env={**os.environ, "WANDB_MODE": "disabled"}, capture_output=True, text=True)
    return ended.returncode, ended.stdout, ended.stderr.splitlines()


@pytest.mark.parametrize(
    ("below", "words"),
    [
        (".", "status mine --once"),
        (".", "resume mine"),
        (".", "stop mine"),
        (".", "list"),
        (".", "evaluate mine"),
        (".", "train quickstart --name mine --resume-if-exists"),
        ("new/storage", "list"),
        ("new/storage", "train quickstart --name mine"),
    ],
)
def test_a_storage_that_may_not_be_entered(foreign: Path, below: str, words: str) -> None:
    code, said, complaint = call(*words.split(), "--storage-path", foreign / below)
    assert (code, said, len(complaint)) == (2, "", 1), complaint
    assert complaint[0].startswith(f"error: {foreign}")
    assert "Permission denied" in complaint[0]


def test_somebody_elses_experiment_hides_no_other(foreign: Path) -> None:
    create(foreign.parent, tiny(), SPACE, trials=2, name="open")
    code, said, complaint = call("list", "--storage-path", foreign.parent)
    assert (code, complaint, "open" in said) == (0, [], True)
    code, _, complaint = call("status", "theirs", "--once", "--storage-path", foreign.parent)
    why = "cannot be read (Permission denied); choose another --storage-path, or set U2PL_RAY_STORAGE"
    assert (code, complaint) == (2, [f"error: {foreign}/experiment.json: {why}"])
