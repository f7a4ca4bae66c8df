"""The report as a reader finds it: opened in a real browser, at the width of a desktop and of a phone."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.analysis.browser import Reader, chromium
from tests.analysis.local_search import run
from u2pl_ray.analysis.answer import answer, confirmed
from u2pl_ray.analysis.load import analyse
from u2pl_ray.analysis.report import write_report
from u2pl_ray.config.errors import UserError
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.experiment.confirm import plan_confirmation
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.storage.lease import Lease
from u2pl_ray.search.storage.lease_marks import FileMark

WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


def page(experiment: Experiment, folder: Path, *others: Experiment) -> Path:
    return Path(write_report([analyse(one) for one in (experiment, *others)], folder / "report.html"))


def read(browser: Browser, file: Path, width: int) -> Reader:
    """Open a report, look at all of it, and check what is true of every report."""
    reader = Reader(browser, file, width)
    reader.scroll_through()
    assert reader.complaints == []
    empty = [title for title, marks in reader.panels().items() if not marks]
    assert not empty
    content, window = reader.widths()
    assert content <= window == width
    return reader


@pytest.fixture(scope="module")
def opened(browser: Browser, searched: Experiment, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Reader]:
    """The whole report of `searched`, by width."""
    file = page(searched, tmp_path_factory.mktemp("report"))
    return {width: read(browser, file, width) for width in WIDTHS}


@pytest.mark.parametrize("width", WIDTHS)
def test_a_search(opened: dict[int, Reader], searched: Experiment, width: int) -> None:
    reader = opened[width]
    drawn = reader.panels().keys()
    best = analyse(searched).best
    assert best is not None
    wanted = {
        *("Parallel coordinates", "What mattered", "temperature alone", "start alone", "kind alone", "History"),
        *("Every trial, epoch by epoch", "Student and teacher", "Losses", "Timeline", "Resources in use"),
        *("Threshold", f"Entropies, best {best.id}", "Right and wrong by entropy", "Pseudo-labels"),
        *("Queue fill", "Key age", "Pushes", "False negatives", "Reliable by class", "Class by class", "Confusion"),
    }
    assert wanted <= drawn
    assert any(title.endswith("together") for title in drawn)
    text = reader.page.inner_text("main")
    for words in (f"Trial {best.id} reached student mIoU", "the best of 5 trials", "with one seed", "u2pl-ray export"):
        assert words in text


def test_it_shows_what_the_best_and_the_worst_trial_make_of_images(
    opened: dict[int, Reader], searched: Experiment
) -> None:
    analysis = analyse(searched)
    reader = opened[390]
    best, *others = analysis.ranked()
    worst = min(others, key=lambda record: record.latest or 0.0)  # a stopped trial may be better than a completed one
    text = reader.page.inner_text("main")
    assert f"Best trial {best.id} (val/miou" in text
    assert f"Worst trial {worst.id} (val/miou" in text
    shown = reader.page.locator(".sample img")
    for word in ("ground truth", "student's prediction", "teacher's pseudo-label", "reliable (green)"):
        assert reader.page.get_by_text(word, exact=True).count() >= 2
    sizes = shown.evaluate_all("images => images.map(image => image.naturalWidth)")
    assert sizes
    assert all(width == 64 for width in sizes)


@pytest.mark.slow
def test_new_seeds_decide_how_sure_the_answer_is(
    browser: Browser, begun: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("u2pl_ray.search.experiment.plan.connect", lambda: None)  # no cluster is needed to train here
    monkeypatch.setattr("u2pl_ray.search.experiment.plan.nodes", lambda: [{"CPU": 1.0, "memory": 2.0**34}])
    storage = tmp_path / "storage"
    shutil.copytree(begun.folder, storage / "begun")
    search = run(Experiment.open("begun", storage), trials=1)  # a second trial, beside the paper's
    leader = next(record.id for record in analyse(search).records if record.note != "paper")
    run(plan_confirmation(search, top=1, seeds=2).create())
    reader = read(browser, page(search, tmp_path), 390)
    assert "On new seeds" in reader.page.locator("h2").all_inner_texts()
    confirmation = Experiment.open("begun-confirm", storage)
    assert f"On 2 new seeds trial {leader}'s setting" in answer_of(confirmation)
    read(browser, page(confirmation, tmp_path), 390)


def answer_of(experiment: Experiment) -> str:
    analysis = analyse(experiment)
    on_seeds = confirmed(analysis)
    assert on_seeds is not None
    told = answer(analysis, on_seeds)
    return f"{told.sentence} {told.doubt}"


def test_plots_follow_the_window(opened: dict[int, Reader]) -> None:
    reader = opened[1280]
    plot = reader.page.locator(".panel[data-height] .main-svg").first
    wide = plot.bounding_box()
    reader.page.set_viewport_size({"width": 700, "height": 844})
    reader.page.wait_for_timeout(1000)
    narrow = plot.bounding_box()
    reader.page.set_viewport_size({"width": 1280, "height": 844})
    assert wide is not None
    assert narrow is not None
    assert narrow["width"] < 700 < wide["width"]
    assert reader.complaints == []


def test_a_search_of_one_trial_so_far(browser: Browser, begun: Experiment, tmp_path: Path) -> None:
    reader = read(browser, page(begun, tmp_path), 390)
    assert "What mattered" not in reader.panels()
    assert "Threshold" in reader.panels()
    assert "u2pl-ray resume" in reader.page.inner_text("main")  # nobody runs it, and it is not finished


def test_a_search_whose_trials_all_failed(browser: Browser, diverged: Experiment, tmp_path: Path) -> None:
    reader = read(browser, page(diverged, tmp_path), 1280)
    text = reader.page.inner_text("main")
    assert "None of 2 trials succeeded" in text
    assert text.count("the training loss is nan in epoch 1") == 3  # in the answer, and beside each of the trials


def test_a_search_in_which_nothing_ran(browser: Browser, empty: Experiment, tmp_path: Path) -> None:
    reader = read(browser, page(empty, tmp_path), 390)
    assert "No trial has reported a value yet." in reader.page.inner_text("main")


@pytest.mark.slow
def test_a_search_for_two_things(browser: Browser, weighed: Experiment, tmp_path: Path) -> None:
    reader = read(browser, page(weighed, tmp_path), 390)
    assert reader.panels()["val/miou against train/loss/contrastive"] == 3
    best = {trial.number for trial in analyse(weighed).study.study.best_trials}  # Optuna's own judgement
    front = [record.id for record in analyse(weighed).front]
    assert {int(trial) for trial in front} == best
    text = reader.page.inner_text("main")
    assert f"By val/miou and train/loss/contrastive together {', '.join(front)}" in text


def test_a_search_that_runs(browser: Browser, begun: Experiment, tmp_path: Path) -> None:
    """One trial done, one in the middle, its driver alive; the report says so, and leaves both alone."""
    shutil.copytree(begun.folder, tmp_path / "begun")
    experiment = Experiment.open("begun", tmp_path)
    driver = Driver(experiment.study(), experiment.config, 4, experiment.folder / "trials")
    with Lease(FileMark(experiment.folder / "driver.lease"), "a"):
        assignment = driver.next()
        assert assignment is not None
        first = experiment.epochs("0000")[0]
        assert not driver.report(assignment.trial, first)
        reader = read(browser, page(experiment, tmp_path), 390)
        text = reader.page.inner_text("main")
        assert reader.page.locator(".kicker").inner_text().split() == ["RUNNING", "1", "RUNNING,", "1", "COMPLETED"]
        assert f"u2pl-ray status {experiment.argument} --watch" in text
        assert "u2pl-ray resume" not in text
        assert {"Parallel coordinates", "Every trial, epoch by epoch", "Timeline"} <= reader.panels().keys()
        assert not driver.report(assignment.trial, {**first, "training_iteration": 2})  # goes on undisturbed


def test_several_are_compared(browser: Browser, searched: Experiment, begun: Experiment, tmp_path: Path) -> None:
    file = page(searched, tmp_path, begun)
    reader = read(browser, file, 390)
    assert {"The best trials", "All values"} <= reader.panels().keys()
    assert reader.page.locator("h1").all_inner_texts() == ["searched and begun", "searched", "begun"]
    assert file.read_text("utf-8").count("plotly.js v") == 1  # embedded once


def test_it_is_written_whole_into_the_experiment(begun: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    target = Path(write_report([analyse(begun)]))
    assert target == begun.folder / "report.html"
    before = target.read_bytes()
    monkeypatch.setattr("pathlib.Path.replace", lambda *arguments: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(UserError, match=r"report\.html: No space left"):
        write_report([analyse(begun)])
    assert target.read_bytes() == before
    assert sorted(begun.folder.glob("*report*")) == [target]
