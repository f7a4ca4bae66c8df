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
