"""A database that goes away under a search (a real PostgreSQL whose socket is moved): one line, 75, and it goes on."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from tests.search.driven import metrics
from tests.search.test_database import open_driver, search, train
from u2pl_ray.config.errors import LostError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.execution.interrupts import AGAIN
from u2pl_ray.search.execution.tune_scheduler import REPORT, StudyScheduler
from u2pl_ray.search.execution.tune_searcher import StudySearcher
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.listeners.base import Listener
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study.trial_record import State


class Server:
    """The way to the database: it can be cut, with all that goes over it, and mended."""

    def __init__(self, url: str) -> None:
        folder = Path(parse_qs(urlsplit(url).query)["host"][0])
        self.socket, self.away = folder / ".s.PGSQL.5432", folder / "away"
        self._own = psycopg.connect(url, autocommit=True)

    def cut(self) -> None:
        self.socket.rename(self.away)
        self._own.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )

    def mend(self) -> None:
        if self.away.exists():
            self.away.rename(self.socket)


@pytest.fixture
def server(database: str) -> Iterator[Server]:
    made = Server(database)
    try:
        yield made
    finally:
        made.mend()
        made._own.close()


def test_a_driver_without_its_database_says_it_in_a_line_and_goes_on(
    tmp_path: Path, base: Config, space: Space, two_cpus: None, database: str, server: Server,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    made = search(tmp_path, base, space, database, "line", trials=3)
    driver = open_driver(made)
    searcher, scheduler = StudySearcher(driver, lambda: 3, lambda trial: None), StudyScheduler(driver)
    config = searcher.suggest("first")
    assert isinstance(config, dict)
    trial = SimpleNamespace(config=config)

    def report(epoch: int) -> str:
        return scheduler.on_trial_result(None, trial, {REPORT: [metrics(base, epoch)]})

    with caplog.at_level(logging.WARNING):
        server.cut()
        assert report(1) == "CONTINUE"
        server.mend()
        assert report(2) == "CONTINUE"
        assert list(made.study().record(0).values) == [1, 2]  # the first came again
        server.cut()
        assert searcher.suggest("second") == searcher.FINISHED
        searcher.on_trial_complete("first")
    ours = [record for record in caplog.records if record.name.startswith("u2pl_ray")]
    assert [bool(record.exc_info) for record in ours] == [False] * 3
    assert (
        "could not be stored; it comes again with the next one, or with resume (the study's database fails ("
        in ours[0].getMessage()
    )
    server.mend()
    assert made.study().record(0).state == State.RUNNING


class Cut(Listener):
    def __init__(self, server: Server) -> None:
        self.server = server

    def close(self) -> None:
        self.server.cut()


def test_an_end_without_the_database_is_one_line_and_started_again(
    tmp_path: Path, base: Config, space: Space, two_cpus: None, database: str, server: Server
) -> None:
    made = search(tmp_path, base, space, database, "end", trials=1)
    driver = open_driver(made)
    assignment = driver.next()
    assert assignment is not None
    train(driver, assignment)
    with pytest.raises(LostError) as caught:
        made.run([Cut(server)])
    assert str(caught.value).startswith(f"{made.folder}: the study's database fails (")
    assert str(caught.value).endswith(f"; go on with: u2pl-ray resume end --storage-path {tmp_path}")
    assert "\n" not in str(caught.value)
    assert "sqlalche" not in str(caught.value)
    server.mend()
    assert Experiment.open("end", tmp_path).run().finished


DRIVER = """
import sys
from u2pl_ray.cli import main
from u2pl_ray.config.overrides import load
from u2pl_ray.data.registry import resolve
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.space.file import parse_space

config = resolve(load("quickstart", ["train.epochs=4", "workers=1", "method.warmup_epochs=0"]))
space = parse_space("parameters: {method.contrastive.temperature: {min: 0.1, max: 1.0}}", "s")
plan_search(
    config, space, name="away", trials=2, trainer="fake_training:build_slow", scheduler="none", study_url=sys.argv[1]
).create()
main(["resume", "away"])
"""


@pytest.mark.ray
@pytest.mark.slow
def test_a_search_whose_database_goes_away_ends_with_75_and_goes_on(
    tmp_path: Path, database: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("FAKE_EPOCH_SECONDS", "0.5")
    monkeypatch.setenv("RAY_NUM_CPUS", "1")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("U2PL_RAY_STORAGE", str(tmp_path))
    errors = tmp_path / "errors"
    with errors.open("w") as file:
        driver = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", DRIVER, database], stdout=subprocess.PIPE, stderr=file, text=True
        )
        assert driver.stdout is not None
        for said in driver.stdout:
            if "epoch 2/" in said:
                server.cut()
                break
        rest = driver.stdout.read()
        code = driver.wait(120)
    complaints = errors.read_text()
    assert code == AGAIN, (rest, complaints)
    assert "Traceback" not in complaints
    (line,) = [each for each in complaints.splitlines() if each.startswith("error: ")]
    assert line.startswith(f"error: {tmp_path}/away: the study's database fails (")
    server.mend()
    again = subprocess.run([sys.executable, "-m", "u2pl_ray", "resume", "away"], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    records = Experiment.open("away").study().records()
    assert [(record.state, record.epochs) for record in records] == [(State.COMPLETED, 4)] * 2
