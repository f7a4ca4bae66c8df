"""Upper bounds of pseudo-labels: what is used is right, and only that it is used differs from a plain training."""

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.evidence.informed import InformedWorker, informed
from benchmarks.evidence.rows import read_rows
from tests.train.conftest import tiny
from u2pl_ray.config.errors import UserError
from u2pl_ray.train.loop import Worker
from u2pl_ray.train.session import LocalSession

CPU = torch.device("cpu")


@pytest.mark.parametrize(("kind", "want"), [("right", [1, 255, 255, 255]), ("corrected", [1, 0, 255, 255])])
def test_labels(kind: str, want: list[int]) -> None:
    pseudo_labels = torch.tensor([[[1, 2, 3, 255]]], dtype=torch.uint8)
    truth = torch.tensor([[[1, 0, 255, 4]]])
    assert informed(pseudo_labels, truth, kind).tolist() == [[want]]


@pytest.mark.parametrize(("kind", "want"), [("right", [255, 255, 255, 255, 5]), ("corrected", [3, 2, 255, 255, 5])])
def test_labels_of_some_classes(kind: str, want: list[int]) -> None:
    pseudo_labels = torch.tensor([[[2, 3, 3, 255, 5]]], dtype=torch.uint8)
    truth = torch.tensor([[[3, 2, 255, 3, 6]]])
    assert informed(pseudo_labels, truth, kind, [3]).tolist() == [[want]]


@pytest.mark.parametrize("judged_on", ["mixed", "weak"])
@pytest.mark.parametrize("kind", ["right", "corrected"])
def test_every_pseudo_label_is_right(kind: str, judged_on: str) -> None:
    settings = ("train.epochs=2", f"method.reliability.judged_on={judged_on}", "method.mixing.kind=cutmix")
    plain, bound = _accuracies(Worker, *settings), _accuracies(InformedWorker, *settings, kind=kind)
    assert plain[0] is None, "warming up"
    assert bound[0] is None, "warming up"
    assert plain[1] < 0.999
    assert bound[1] == 1


def _accuracies(made: Any, *settings: str, **more: str) -> list[Any]:
    epochs: list[dict[str, Any]] = []
    made(tiny(*settings), LocalSession(on_report=epochs.append), CPU, **more).run()
    return [epoch.get("diag/pseudo_label/accuracy_reliable") for epoch in epochs]


def test_a_method_without_pseudo_labels_is_refused() -> None:
    with pytest.raises(UserError, match="has no pseudo-labels"):
        InformedWorker(tiny("method.name=supervised"), LocalSession(on_report=print), CPU, "right")


def test_a_class_that_the_data_has_not_is_refused() -> None:
    with pytest.raises(UserError, match="pavement is no class of"):
        InformedWorker(tiny(), LocalSession(on_report=print), CPU, "right", ["pavement"])


def test_rows_name_their_kind(tmp_path: Path) -> None:
    file = tmp_path / "rows.yaml"
    file.write_text(
        "base: quickstart\nseeds: [0]\nrows:\n  a: []\n  b: {informed: right}\n  c: {reference: corrected}\n"
        "  d: {informed: right, classes: [lungs]}\n"
    )
    kinds = [(run.informed, run.reference) for run in read_rows(file)]
    assert kinds == [("", ""), ("right", ""), ("", "corrected"), ("right", "")]
    assert [run.classes for run in read_rows(file)] == [(), (), (), ("lungs",)]
    assert len({run.key for run in read_rows(file)}) == 4
    file.write_text("base: quickstart\nseeds: [0]\nrows:\n  b: {informed: rihgt}\n")
    with pytest.raises(SystemExit, match="rihgt"):
        read_rows(file)
    file.write_text("base: quickstart\nseeds: [0]\nrows:\n  b: {reference: corrected, classes: [lungs]}\n")
    with pytest.raises(SystemExit, match="classes are those of informed"):
        read_rows(file)
