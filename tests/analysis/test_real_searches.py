"""Whole searches from the command line, and the reports they end with in a browser."""

import os
from pathlib import Path

import pytest

from tests.analysis.browser import chromium
from tests.analysis.test_report import WIDTHS, read
from tests.cli.test_end_to_end import Shell

SPACES = Path(__file__).parents[2] / "search_spaces"
CAMVID = Path(os.environ.get("CAMVID", "data/camvid_240")).absolute()


def searched(shell: Shell, name: str, *arguments: object) -> None:
    said = shell("search", *arguments, "--name", name)
    report = shell.folder / "storage" / name / "report.html"
    assert f"report      {report}" in said
    with chromium() as browser:
        for width in WIDTHS:
            reader = read(browser, report, width)
            assert {"Parallel coordinates", "What mattered", "Threshold", "Timeline"} <= reader.panels().keys()
            assert "Which settings of u2pl" in reader.page.inner_text("main")


@pytest.mark.slow
@pytest.mark.ray
def test_the_quickstart(tmp_path: Path) -> None:
    settings = ["train.epochs=6", "train.steps_per_epoch=6", "workers=1"]
    searched(Shell(tmp_path), "quick", "quickstart", *settings, "--space", SPACES / "quickstart.yaml", "--trials", 5)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.skipif(not CAMVID.exists(), reason=f"no CamVid at {CAMVID}; say where it is with CAMVID=")
def test_camvid(tmp_path: Path) -> None:
    settings = [
        f"data.root={CAMVID}",
        *("model.encoder=tu-mobilenetv3_small_050", "workers=1", "train.epochs=4", "train.steps_per_epoch=3"),
        *("method.warmup_epochs=1", "train.batch_size=4", "train.unlabeled_batch_size=4"),
    ]
    searched(Shell(tmp_path), "camvid", "camvid", *settings, "--space", SPACES / "paper.yaml", "--trials", 4)
