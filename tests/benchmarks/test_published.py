"""Trainings with the published code's losses. U2PL_REFERENCE names a checkout of it; most tests need one."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.evidence import train as evidence
from benchmarks.evidence.published import PublishedWorker, check
from benchmarks.evidence.rows import Run, read_rows
from benchmarks.reference_objective import one_hot, published_rules
from tests.train.conftest import tiny
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.overrides import load
from u2pl_ray.train.loop import Worker
from u2pl_ray.train.session import LocalSession

CPU = torch.device("cpu")
PLAIN = (
    *("tracking.images=0", "method.strong_view.use=false"),
    *("method.mixing.kind=cutmix", "method.mixing.probability=0.5"),
)
ROWS = "base: lab.yaml\nseeds: [0]\nrows:\n  ours: [a=1]\n  theirs: {reference: %s, settings: [a=1]}\n"


class Trained:
    """A training of `tiny`, 2 steps of warm-up and 4 more: after each epoch what is reported, and the weights."""

    def __init__(self, losses: types.ModuleType, kind: str, *overrides: str) -> None:
        self.reports: list[dict[str, Any]] = []
        self.weights: list[dict[str, dict[str, torch.Tensor]]] = []
        session = LocalSession(None, self._keep)
        config = tiny(*PLAIN, *overrides)
        if kind == "ours":
            self.worker = Worker(config, session, CPU)
        else:
            self.worker = PublishedWorker(config, session, CPU, losses, kind)
        self.worker.run()

    def _keep(self, report: dict[str, Any]) -> None:
        self.reports.append(report)
        networks = {"student": self.worker.student, "teacher": self.worker.teacher.module}
        self.weights.append(
            {who: {k: v.clone() for k, v in network.state_dict().items()} for who, network in networks.items()}
        )

    def column(self, term: str) -> list[float]:
        return [report[f"train/loss/{term}"] for report in self.reports]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_warmup_is_ours_bit_for_bit_and_what_follows_is_not(losses: types.ModuleType) -> None:
    ours, published, corrected = (Trained(losses, kind) for kind in ("ours", "published", "corrected"))
    for who in ("student", "teacher"):
        assert same(ours.weights[0][who], published.weights[0][who])
        assert same(ours.weights[0][who], corrected.weights[0][who])
    for one, other in ((ours, published), (ours, corrected), (published, corrected)):
        for epoch in (1, 2):
            assert not same(one.weights[epoch]["student"], other.weights[epoch]["student"])
            assert one.column("unsupervised")[epoch] != other.column("unsupervised")[epoch]
        assert one.column("contrastive")[2] != other.column("contrastive")[2]
    for each in (ours, published, corrected):
        assert each.column("unsupervised")[0] == each.column("contrastive")[0] == 0.0
        assert all(0.0 < value < 100.0 for value in each.column("unsupervised")[1:])
    # So early no prediction is as sure as an anchor's; as published hardly any key arrives, here none.
    assert ours.column("contrastive")[1] == corrected.column("contrastive")[1] == 0.0
    assert corrected.column("contrastive")[2] == pytest.approx(ours.column("contrastive")[2], rel=0.1)
    assert corrected.column("contrastive")[2] > 0.1
    assert published.column("contrastive") == [0.0, 0.0, 0.0]
    # As published, the student is copied over the teacher in the first epoch after the warm-up, in no later one.
    assert [same(weights["student"], weights["teacher"]) for weights in published.weights] == [True, True, False]
    assert [same(weights["student"], weights["teacher"]) for weights in corrected.weights] == [True, False, False]


def test_without_mixing_and_contrast_the_corrected_training_is_ours(losses: types.ModuleType) -> None:
    """No padding in these crops, so lambda_u counts the same pixels."""
    alike = ["method.mixing.kind=none", "method.contrastive.weight=0", "method.alpha.start=0.3"]
    ours, corrected = (Trained(losses, kind, *alike) for kind in ("ours", "corrected"))
    for name in ("train/loss/supervised", "train/loss/unsupervised", "train/loss/total", "diag/gamma"):
        for epoch in (1, 2):
            assert corrected.reports[epoch][name] == pytest.approx(ours.reports[epoch][name], rel=1e-5), name
    for name in ("diag/reliable_fraction", "diag/pseudo_label/accuracy_reliable", "diag/entropy/mean"):
        assert corrected.reports[1][name] == pytest.approx(ours.reports[1][name], rel=1e-5), name
    assert 0.69 < ours.reports[1]["diag/reliable_fraction"] < 0.81
    for who in ("student", "teacher"):
        for name, value in ours.weights[-1][who].items():
            torch.testing.assert_close(corrected.weights[-1][who][name], value, rtol=1e-4, atol=1e-5)


def test_a_training_is_the_same_again(losses: types.ModuleType) -> None:
    """Whatever numpy's and torch's global generators were left at."""
    first, second = (Trained(losses, "published", "method.mixing.kind=classmix") for _ in range(2))
    assert same(first.weights[-1]["student"], second.weights[-1]["student"])


def test_as_published_all_labels_go_to_the_first_image(losses: types.ModuleType) -> None:
    labels = torch.tensor([[[0, 1]], [[2, 255]]])
    meant, published = one_hot(labels, 3), published_rules(losses).one_hot(labels, 3)
    assert meant.argmax(1)[meant.sum(1) > 0].tolist() == [0, 1, 2]
    assert published[0, :, 0].T.tolist() == [[1, 0, 1], [1, 1, 0]]  # even the ignored one, as class 0
    assert published[1].sum() == 0


def test_settings_that_are_ours_alone_are_refused() -> None:
    for setting in (
        *("method.strong_view.use=true", "method.balance.alignment=0.5", "method.unsupervised_rampup=0.5"),
        "method.mixing.labeled_partner=0.5",
    ):
        with pytest.raises(UserError, match=r"ours alone: leave it at its default"):
            check(load("quickstart", [*PLAIN, setting]).method)
    with pytest.raises(UserError, match=r"method\.name=supervised is not what is published"):
        check(load("quickstart", ["method.name=supervised"]).method)


def test_rows_name_what_they_are_trained_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rows.yaml"
    file.write_text(ROWS % "corrected")
    ours, theirs = read_rows(file)
    assert ours == Run("ours", "lab.yaml", ("a=1",), 0)
    assert theirs == Run("theirs", "lab.yaml", ("a=1",), 0, "corrected")
    assert ours.key == '["ours", "lab.yaml", ["a=1"], 0]'  # as results kept before have it
    assert theirs.key == '["theirs", "lab.yaml", ["a=1"], 0, "corrected"]'
    monkeypatch.setattr(sys, "argv", ["train", str(file), "-o", str(tmp_path / "out.jsonl")])
    with pytest.raises(SystemExit, match="row theirs has the published code's losses: name its checkout by --ref"):
        evidence.main()
    file.write_text(ROWS % "publishd")
    with pytest.raises(SystemExit, match=r"row theirs: reference 'publishd' is not in \('published', 'corrected'\)"):
        read_rows(file)
