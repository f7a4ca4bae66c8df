"""A trial that failed counts in no comparison, whatever it reported before it did."""

import re
from pathlib import Path

import pytest

from tests.analysis.conftest import SPACE
from tests.analysis.local_search import create
from tests.train.conftest import tiny
from u2pl_ray.analysis.answer import answer
from u2pl_ray.analysis.figures.settings import common_epoch, comparable
from u2pl_ray.analysis.figures.trainings import training_panels
from u2pl_ray.analysis.load import Analysis, analyse
from u2pl_ray.analysis.report import render, write_report
from u2pl_ray.config.errors import UserError
from u2pl_ray.search.driver.assignment import Outcome
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.study.trial_record import State

NAN = Outcome(State.FAILED, "nan", "the training loss is nan in epoch 2")


def searched(storage: Path, failed: int) -> Analysis:
    """A search of five trials with values 0.5, 0.51, ... but one, which diverges after it reported 0.9."""
    experiment = create(storage, tiny("train.epochs=2"), SPACE, trials=5)
    driver = Driver(experiment.study(), experiment.config, 5, experiment.folder / "trials")
    while (assignment := driver.next()) is not None:
        number = int(assignment.trial)
        values = (0.9,) if number == failed else (0.4, 0.5 + 0.01 * number)
        for epoch, value in enumerate(values, 1):
            driver.report(assignment.trial, {"training_iteration": epoch, "val/miou": value})
        if number == failed:
            driver.finish(assignment.trial, NAN)
    return analyse(experiment)


@pytest.fixture
def analysis(tmp_path: Path) -> Analysis:
    return searched(tmp_path, failed=2)


def test_plots_of_the_settings_leave_it_out(analysis: Analysis) -> None:
    assert [trial.number for trial in comparable(analysis).get_trials() if trial.value is not None] == [0, 1, 3, 4]
    assert comparable(analysis).best_value == pytest.approx(0.54)
    early = comparable(analysis, 1)
    assert [trial.value for trial in early.get_trials()] == [0.4, 0.4, None, 0.4, 0.4]
    assert common_epoch(analysis) == 2


def test_its_curve_is_drawn(analysis: Analysis) -> None:
    curves = next(panel for panel in training_panels(analysis) if panel.title == "Every trial, epoch by epoch")
    assert "0002" in {trace.name for trace in curves.figure.data}


def test_it_is_not_counted_among_those_that_the_best_is_better_than(analysis: Analysis) -> None:
    assert [record.id for record in analysis.ranked()] == ["0004", "0003", "0001", "0000"]
    told = answer(analysis)
    assert "the best of 4 trials" in told.sentence
    assert "the best of 4 is flattered by luck" in told.doubt
    rows = re.findall(r'<td class="mono">(\d{4})', render([analysis]))
    assert rows == ["0002", "0004", "0003", "0001", "0000", "0002"]  # the failures; all trials, the failed one last


def test_a_report_replaces_a_report_and_no_other_file(analysis: Analysis, tmp_path: Path) -> None:
    target = tmp_path / "mine.html"
    target.write_text("<html>my thesis</html>")
    with pytest.raises(UserError, match=r"-o .*mine\.html: exists and is no report"):
        write_report([analysis], target)
    assert target.read_text() == "<html>my thesis</html>"
    target.unlink()
    for _ in range(2):
        write_report([analysis], target)
    assert "u2pl-ray report" in target.read_text("utf-8")[:4096]


def test_the_paper_s_setting_that_failed_is_compared_with_nothing(tmp_path: Path) -> None:
    analysis = searched(tmp_path, failed=0)
    assert analysis.paper is not None
    assert "paper" not in answer(analysis).sentence
    assert "Beside the paper" not in render([analysis])
