"""What the unlabeled images brought: against supervised training and the oracle."""

from pathlib import Path

import pytest

from tests.analysis.conftest import SPACE
from tests.analysis.local_search import create
from tests.train.conftest import tiny
from u2pl_ray.analysis.answer import answer
from u2pl_ray.analysis.load import Analysis, analyse
from u2pl_ray.analysis.report import write_report
from u2pl_ray.analysis.status import as_data
from u2pl_ray.analysis.unlabeled import NO_GAP, against_supervised, did_they_help, gap_closed
from u2pl_ray.search.driver.driver import Driver


@pytest.mark.parametrize(
    ("value", "supervised", "oracle", "maximize", "share"),
    [
        (0.7, 0.6, 0.8, True, 0.5),
        (0.6, 0.6, 0.8, True, 0.0),
        (0.5, 0.6, 0.8, True, -0.5),
        (0.9, 0.6, 0.8, True, 1.5),
        (0.3, 0.4, 0.2, False, 0.5),
        (0.7, 0.6, None, True, None),
        (0.7, 0.6, 0.6, True, None),  # nothing to gain
        (0.7, 0.6, 0.5, True, None),
        (0.3, 0.4, 0.5, False, None),
    ],
)
def test_share_of_the_gap(
    value: float, supervised: float, oracle: float | None, maximize: bool, share: float | None
) -> None:
    closed = gap_closed(value, supervised, oracle, maximize)
    assert closed == (None if share is None else pytest.approx(share))


def test_a_gap_within_the_noise_has_no_share() -> None:
    assert gap_closed(0.55, 0.5, 0.501, noise=0.002) is None
    assert gap_closed(0.55, 0.501, 0.5, maximize=False, noise=0.002) is None
    assert gap_closed(0.501, 0.5, 0.51, noise=0.002) == pytest.approx(0.1)


def test_an_oracle_ahead_by_no_more_than_noise_is_said(tmp_path: Path) -> None:
    """Both baselines' curves scatter by much more than the oracle is ahead."""
    analysis = searched(tmp_path, {"u2pl": 0.7, "supervised": 0.6, "oracle": 0.601}, "supervised", "oracle", wave=0.02)
    assert all(row.closed is None for row in against_supervised(analysis))
    assert did_they_help(analysis).endswith(f"luck may explain it; {NO_GAP}.")


def searched(storage: Path, values: dict[str, float], *baselines: str, wave: float = 0.0) -> Analysis:
    """A search of two trials; every training reports its method's value, the second trial a tenth less."""
    experiment = create(storage, tiny("train.epochs=6"), SPACE, trials=2, baselines=baselines)
    driver = Driver(experiment.study(), experiment.config, 2, experiment.folder / "trials")
    u2pl = 0
    while (assignment := driver.next()) is not None:
        value = values[assignment.config.method.name]
        if assignment.config.method.name == "u2pl":
            value -= 0.1 * u2pl
            u2pl += 1
        for epoch in range(1, 7):
            driver.report(assignment.trial, {"training_iteration": epoch, "val/miou": value + wave * (epoch % 3 == 1)})
    return analyse(experiment)


def test_rows_and_sentence_with_an_oracle(tmp_path: Path) -> None:
    values = {"u2pl": 0.7, "supervised": 0.6, "oracle": 0.8}
    analysis = searched(tmp_path, values, "supervised", "oracle")
    rows = [(row.label, row.value, row.ahead, row.closed) for row in against_supervised(analysis)]
    assert rows == [
        ("supervised", 0.6, 0.0, 0.0),
        ("paper's setting 0000, the best", 0.7, pytest.approx(0.1), pytest.approx(0.5)),
        ("oracle", 0.8, pytest.approx(0.2), pytest.approx(1.0)),
    ]
    assert did_they_help(analysis) == (
        "With unlabeled images: supervised training has student mIoU 0.6, the paper's setting 0000, the best, is "
        "0.1000 better (50% of the gap to the oracle); one training each, so luck may explain it."
    )
    assert answer(analysis).sentence.startswith("With unlabeled images: ")
    assert [row["training"] for row in as_data(analysis)["unlabeled"]] == [row[0] for row in rows]
    page = Path(write_report([analysis], tmp_path / "report.html")).read_text("utf-8")
    assert "What the unlabeled images brought" in page
    assert "50 %" in page


def test_they_did_not_help_and_there_is_no_oracle(tmp_path: Path) -> None:
    analysis = searched(tmp_path, {"u2pl": 0.55, "supervised": 0.6}, "supervised")
    assert "is 0.0500 worse; one training" in did_they_help(analysis)
    assert all(row.closed is None for row in against_supervised(analysis))


def test_nothing_is_said_without_a_supervised_training(tmp_path: Path) -> None:
    analysis = searched(tmp_path, {"u2pl": 0.55, "oracle": 0.6}, "oracle")
    assert against_supervised(analysis) == []
    assert did_they_help(analysis) == ""
