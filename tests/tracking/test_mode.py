"""When a session is online."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.tracking.search import files, sink_of, steps, tell
from tests.tracking.stub import KEY

NOWHERE = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("mode", "variables", "expected"),
    [
        ("auto", {}, "offline"),
        ("auto", {"WANDB_API_KEY": KEY}, "online"),
        ("auto", {"WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}, "offline"),
        ("auto", {"WANDB_API_KEY": KEY, "WANDB_MODE": "disabled"}, "disabled"),
        ("auto", {"WANDB_MODE": "online"}, "offline"),  # no key
        ("auto", {"WANDB_API_KEY": "", "WANDB_MODE": "", "WANDB_ENTITY": "", "WANDB_DIR": ""}, "offline"),
        (
            "auto",
            {"WANDB_SWEEP_ID": "x", "WANDB_RUN_ID": "y", "WANDB_NAME": "z", "WANDB_RESUME": "must"},
            "offline",
        ),
        ("offline", {"WANDB_API_KEY": KEY, "WANDB_MODE": "online"}, "offline"),
        ("online", {"WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}, "online"),
        ("disabled", {"WANDB_API_KEY": KEY}, "disabled"),
    ],
)
def test_mode(
    experiment: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    mode: str,
    variables: dict[str, str],
    expected: str,
) -> None:
    for name, value in {"WANDB_BASE_URL": NOWHERE, **variables}.items():
        monkeypatch.setenv(name, value)
    sink = sink_of(experiment, mode)
    tell(sink, trials=1, epochs=[1])
    report = sink.close(timeout=30 if expected == "offline" else 1)
    assert report.mode == expected
    if expected == "disabled":
        return
    assert report.rows == 1
    [run] = files(experiment)["0000"]
    assert (run.group, steps(run)) == ("my-search", [1])
    no_key = variables.get("WANDB_MODE") == "online" and "WANDB_API_KEY" not in variables
    assert any("no key" in note for note in report.notes) is no_key
    assert KEY not in "".join(capfd.readouterr())
    assert not any(KEY.encode() in path.read_bytes() for path in experiment.rglob("*") if path.is_file())


def test_the_client_is_not_loaded_before_it_is_needed() -> None:
    modules = "u2pl_ray.tracking.sink, u2pl_ray.tracking.sync, u2pl_ray.tracking.workspace"
    code = f"import sys, {modules}; sys.exit('wandb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
