"""The view and the report, as the server gets them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.tracking.search import sink_of, tell
from tests.tracking.stub import WandbStub
from u2pl_ray.config.errors import UserError
from u2pl_ray.tracking.client import ExperimentFile
from u2pl_ray.tracking.workspace import View, save

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

VIEW = View(
    group="my-search",
    objective="val/miou",
    parameters=["method.alpha.start", "method.alpha.kind"],
    choices=["method.alpha.kind"],
    best="0001",
    paper="0000",
)


def view_types(spec: Any) -> set[str]:
    """Every `viewType` in a spec."""
    return set(re.findall(r'"viewType": "([^"]+)"', json.dumps(spec)))


def panels_of(spec: Any) -> dict[str, list[str]]:
    """The texts of all panels in a spec, by title."""
    found: dict[str, list[str]] = {}

    def walk(node: Any) -> None:
        if isinstance(node, dict) and "viewType" in node and "config" in node:
            config = node["config"]
            title = config.get("chartTitle") or config.get("title") or config.get("customName") or ""
            found.setdefault(title, []).append(json.dumps(config))
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            walk(child)

    walk(spec)
    return found


def test_view_and_report_are_saved_once_and_updated(experiment: Path, stub: WandbStub) -> None:
    pytest.importorskip("wandb_workspaces")
    sink = sink_of(experiment, "auto")
    tell(sink, trials=2, epochs=[1])
    assert sink.close().not_uploaded == 0
    for _ in range(2):
        save(experiment, "stub-project", None, VIEW)
    view, report = stub.views.values()
    assert (view["type"], view["displayName"]) == ("project-view", "my-search")
    assert (report["type"], report["displayName"]) == ("runs", "my-search")
    expected = {"Parallel Coordinates Plot", "Parameter Importance", "Run History Line Plot"}
    assert expected <= view_types(view["spec"])
    assert {*expected, "Run Comparer"} <= view_types(report["spec"])
    expected_panels = {
        "Settings and result": "config:method.value.alpha.start",
        "val/miou by method.alpha.kind": "val/miou",
        "alpha and gamma": "diag/gamma",
        "Entropy, right pseudo-labels": "diag/entropy/hist_right",
        "Entropy, wrong pseudo-labels": "diag/entropy/hist_wrong",
        "Keys pushed per class": "diag/bank/pushed/",
        "Age of keys per class": "diag/bank/key_age/",
        "Validation images": "media/images/val",
        "Unlabeled images": "media/images/unlabeled",
        "Confusion matrix": "val/confusion",
    }
    for saved in (view, report):
        panels = panels_of(saved["spec"])
        for title, metric in expected_panels.items():
            assert any(metric in panel for panel in panels[title]), title
        [grouped] = panels["val/miou by method.alpha.kind"]
        assert "alpha.kind" in grouped.replace("val/miou by method.alpha.kind", "")
    assert len(panels_of(report["spec"])["Validation images"]) == 2  # all trials; the best and the paper's setting
    text = json.dumps(view["spec"])
    assert "config:method.value.alpha.start" in text
    assert "summary:best/val/miou" in text
    run_ids = [ExperimentFile(experiment).run_id(trial) for trial in ("0000", "0001")]
    assert all(run_id in json.dumps(report["spec"]) for run_id in run_ids)


def test_a_server_without_the_runs_is_one_line(experiment: Path, stub: WandbStub) -> None:
    pytest.importorskip("wandb_workspaces")
    with pytest.raises(UserError, match="wandb sync my-search"):
        save(experiment, "stub-project", None, VIEW)


def test_without_a_key_it_says_so(experiment: Path) -> None:
    pytest.importorskip("wandb_workspaces")
    with pytest.raises(UserError, match="wandb login"):
        save(experiment, "stub-project", None, VIEW)
