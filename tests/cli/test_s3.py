"""The way of a user whose experiments are on S3 (a real server), in real processes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_end_to_end import SETTINGS, SPACE, Shell
from tests.search.s3 import s3_server
from u2pl_ray.search.storage.object_store import Objects

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def bucket() -> Iterator[str]:
    with s3_server("bucket") as uri:
        yield uri


def test_every_verb_takes_an_experiment_there(bucket: str, tmp_path: Path) -> None:
    shell, there = Shell(tmp_path), f"{bucket}/searches"
    shell.environment["U2PL_RAY_STORAGE"] = there
    (tmp_path / "space.yaml").write_text(SPACE)
    said = shell(
        "search",
        "quickstart",
        *SETTINGS,
        "--space",
        "space.yaml",
        "--trials",
        "1",
        "--baseline",
        "none",
        "--name",
        "mine",
    )
    assert f"experiment   {there}/mine" in said
    shell.environment.pop("U2PL_RAY_STORAGE")
    (trial,) = json.loads(shell("status", "mine", "--storage-path", there, "--json"))["trials"]
    assert (trial["state"], trial["epochs"]) == ("COMPLETED", 2)
    assert "0000" in shell("status", f"{there}/mine", "--once")

    best = json.loads(shell("best", f"{there}/mine", "--json"))
    assert best["checkpoint"] == f"{there}/mine/trials/0000/train/epoch_00002"
    scored = json.loads(shell("evaluate", best["checkpoint"], "--split", "val", "--json"))
    assert scored["metrics"]["val/miou"] == pytest.approx(trial["metrics"]["val/miou"], abs=2e-3)
    image = next((tmp_path / "cache").rglob("JPEGImages/test_*.png"))
    assert len(shell("predict", best["checkpoint"], image, "--output", "out").split()) == 2

    shell("export", f"{there}/mine", "--output", "best.yaml")
    assert (tmp_path / "best.yaml").read_bytes() == Objects(f"{there}/mine").read("best.yaml")
    assert shell("report", f"{there}/mine").strip() == f"{there}/mine/report.html"
    report = Objects(f"{there}/mine").read("report.html")
    assert report is not None
    assert b"0000" in report
    assert "mine" in shell("compare", f"{there}/mine")
    shell("resume", f"{there}/mine")  # nothing is left to do
    assert list(shell.temporary.glob("u2pl_ray_*")) == []
