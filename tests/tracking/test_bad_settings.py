"""Settings of W&B's environment that its client refuses are one line, without the key."""

import subprocess
import sys
from pathlib import Path

import pytest

CONNECT = """
import sys
from pathlib import Path
from u2pl_ray.config.errors import UserError
from u2pl_ray.tracking.client import Client
try:
    Client(Path(sys.argv[1]), "p", None, "g").connect("online")
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("name", "value", "words"), [("WANDB_API_KEY", "not a key", "is no key"), ("WANDB_MODE", "bogus", "WANDB_MODE")]
)
def test_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str) -> None:
    monkeypatch.setenv(name, value)
    command = [sys.executable, "-c", CONNECT, str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.count("\n") == 1
    assert words in told
    assert value not in told
