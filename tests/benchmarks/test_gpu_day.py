"""`make gpu` in miniature, on the CPU, as on a machine that has neither Ray nor Optuna nor wandb."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import part

ROOT = Path(__file__).parents[2]
PARTS = ("sync_free", "agreement", "steps", "losses", "dpt", "evidence")


@pytest.mark.timeout(900)  # a busy machine; alone it takes a minute or two
def test_every_part_runs_small_on_the_cpu(tmp_path: Path) -> None:
    """U2PL_REFERENCE may name a checkout of the published implementation; without it its comparisons are skipped."""
    blocked, out = tmp_path / "blocked", tmp_path / "out"
    for name in ("ray", "optuna", "wandb"):
        (blocked / name).mkdir(parents=True)
        (blocked / name / "__init__.py").write_text(f"raise ImportError('{name} is not to be needed')\n")
    reference = os.environ.get("U2PL_REFERENCE")
    command = [sys.executable, "-m", "benchmarks.gpu", "--miniature", "--minutes", "14", "--jobs", "1"]
    command += ["--out", str(out), *(["--reference", reference] if reference else [])]
    environment = os.environ | {
        "PYTHONPATH": f"{blocked}{os.pathsep}{ROOT}",
        "U2PL_RAY_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    print(ended.stdout[-8000:], ended.stderr[-4000:])
    found = {name: json.loads((out / f"gpu_{name}.json").read_text()) for name in PARTS}
    expected = dict.fromkeys(PARTS, "done") | ({} if reference else {"losses": "skipped"})
    assert {name: result["status"] for name, result in found.items()} == expected
    assert ended.returncode == 0
    assert all(result["rows"] for name, result in found.items() if expected[name] == "done")
    assert found["agreement"]["rows"][0]["tests"] > 20
    assert found["agreement"]["rows"][0]["failed"] == 0
    times = [row["milliseconds"] for row in found["steps"]["rows"] if "images_per_second" in row]
    assert len(times) >= 3
    assert min(times) > 0
    assert len((out / "gpu_evidence.jsonl").read_text().splitlines()) == 2


def test_without_a_gpu_the_full_day_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["part", "dpt", "--out", str(tmp_path)])
    part.main()
    found = json.loads((tmp_path / "gpu_dpt.json").read_text())
    assert found["status"] == "skipped"
    assert found["why"].startswith("there is no CUDA device here; --miniature")
