"""Studies in a real PostgreSQL: several drivers on one, none of whose trials is lost or run twice."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fake_training import miou
from optuna.trial import TrialState

from tests.search.postgres import PASSWORD
from u2pl_ray.cli import main
from u2pl_ray.config import overrides
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.assignment import Assignment, Outcome
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.driver.presence import Presence, running
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study.trial_record import State

EPOCHS = 9


def search(folder: Path, base: Config, space: Space, url: str, name: str, trials: int = 20, **more: Any) -> Experiment:
    arguments: dict[str, Any] = {"name": name, "trials": trials, "storage_path": folder, "study_url": url} | more
    return plan_search(base, space, **arguments).create()


def open_driver(experiment: Experiment, presence: Presence | None = None) -> Driver:
    study = experiment.study()
    driver = Driver(study, experiment.config, experiment.options.trials, experiment.folder / "trials")
    driver.share(presence or Presence(study))
    return driver


def train(driver: Driver, assignment: Assignment, until: int = EPOCHS) -> None:
    for epoch in range(assignment.reported_epochs + 1, until + 1):
        if driver.report(assignment.trial, {"training_iteration": epoch, "val/miou": miou(assignment.config, epoch)}):
            return
    if until == EPOCHS:
        driver.finish(assignment.trial, Outcome(State.COMPLETED))


def check_whole(experiment: Experiment, trials: int = 20) -> None:
    """Every trial ended once, with every epoch in the study as it is on disk."""
    records = experiment.study().records()
    assert [record.number for record in records] == list(range(trials))
    assert {record.state for record in records} <= {State.COMPLETED, State.STOPPED}
    assert len({str(record.params) for record in records}) == trials
    for record in records:
        told = {metrics["training_iteration"]: metrics["val/miou"] for metrics in experiment.epochs(record.id)}
        assert list(told) == list(range(1, record.epochs + 1))
        assert told == pytest.approx(record.values)


def test_four_drivers_share_twenty_trials(
    tmp_path: Path, base: Config, space: Space, two_cpus: None, database: str
) -> None:
    made = search(tmp_path, base, space, database, "four")
    ran: list[str] = []
    errors: list[Exception] = []

    def work() -> None:
        try:
            driver = open_driver(Experiment.open("four", tmp_path))
            assert driver.presence is not None
            with driver.presence:  # or the others take it for dead after 30 s, which a busy machine takes
                while (assignment := driver.next()) is not None:
                    ran.append(assignment.trial)
                    train(driver, assignment)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert Counter(ran) == Counter(f"{number:04d}" for number in range(20))
    check_whole(made)
    assert sum(record.note == "paper" for record in made.study().records()) == 1
    assert len({record.driver for record in made.study().records()}) > 1


def test_a_dead_drivers_trials_are_taken_up_by_one_that_lives(
    tmp_path: Path, base: Config, space: Space, two_cpus: None, database: str
) -> None:
    made = search(tmp_path, base, space, database, "dead", trials=2)
    now = [0.0]
    first = open_driver(made)
    assert first.presence is not None
    first.presence.beat()
    cut_off = first.next()
    assert cut_off is not None
    train(first, cut_off, until=1)

    study = made.study()
    second = open_driver(made, Presence(study, clock=lambda: now[0]))
    other = second.next()
    assert other is not None
    assert other.trial == "0001"
    train(second, other)
    assert (second.next(), second.left(), second.waits()) == (None, 0, True)
    now[0] += 29
    first.presence.beat()  # it lives
    assert second.interrupted() == []
    now[0] += 29
    assert second.next() is None
    now[0] += 2  # 31 s without a count
    again = second.next()
    assert again is not None
    assert (again.trial, again.reported_epochs) == ("0000", 1)
    # The first was only asleep: it is told to stop, and what it says changes nothing.
    assert first.report("0000", {"training_iteration": 2, "val/miou": 0.1})
    first.finish("0000", Outcome(State.FAILED, "lost"))
    train(second, again)
    check_whole(made, 2)
    assert not second.waits()


def test_who_takes_its_leave_is_replaced_at_once(
    tmp_path: Path, base: Config, space: Space, two_cpus: None, database: str
) -> None:
    made = search(tmp_path, base, space, database, "leave", trials=1)
    assert not running(made.study(), beat=0.05)
    study = made.study()
    with Presence(study, beat=0.05) as presence:
        driver = open_driver(made, presence)
        assert driver.next() is not None
        assert running(made.study(), beat=0.05)
    assert not running(made.study(), beat=0.05)
    assert open_driver(made).interrupted() == [0]


def test_no_password_is_stored_or_shown(
    tmp_path: Path, base: Config, space: Space, two_cpus: None, database: str
) -> None:
    plan = plan_search(base, space, name="quiet", trials=1, storage_path=tmp_path, study_url=database)
    assert PASSWORD not in "\n".join(plan.lines())
    made = plan.create()
    assert all(PASSWORD.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert json.loads((made.folder / "experiment.json").read_text())["options"]["study_url"] == database
    assert not (made.folder / "study.journal").exists()


def test_what_cannot_be_used_is_said_in_a_line(
    tmp_path: Path,
    base: Config,
    space: Space,
    two_cpus: None,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cases = {
        database.replace("tester@", "tester:secret@"): "leave the password out",
        database + "&password=secret": "leave the password out",
        "postgresql": "write it like postgresql://",
        "postgresql://tester@/postgres?host=/nowhere": "the database cannot be used: .*No such file",
        "oracle://host/db": "client library is missing",
    }
    for url, words in cases.items():
        with pytest.raises(UserError, match=words) as caught:
            search(tmp_path, base, space, url, "refused")
        assert "secret" not in str(caught.value)
    monkeypatch.setenv("PGPASSWORD", "wrong")
    with pytest.raises(UserError, match="password authentication failed"):
        search(tmp_path, base, space, database, "refused")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_in_the_database(
    tmp_path: Path, base: Config, space: Space, two_cpus: None, database: str
) -> None:
    search(tmp_path / "a", base, space, database, "twice")
    with pytest.raises(UserError, match="'twice' exists already"):
        search(tmp_path / "b", base, space, database, "twice")
    assert list((tmp_path / "b").iterdir()) == []


DRIVER = """
import sys
from u2pl_ray.search.listeners.base import Listener
from u2pl_ray.search.experiment.experiment import Experiment

class Talk(Listener):
    def trial_started(self, trial, config): print("started", trial.id, flush=True)
    def epoch_done(self, trial, metrics, best): print("epoch", trial.id, flush=True)

print("finished", Experiment.open("together", sys.argv[1]).run([Talk()]).finished, flush=True)
"""


@pytest.mark.slow
@pytest.mark.ray
def test_two_drivers_on_a_cluster_one_of_them_killed(
    tmp_path: Path, base: Config, space: Space, ray_cluster: None, database: str
) -> None:
    """Twenty trials by two drivers on one Ray cluster; one is killed on the way, and the other takes up its trial."""
    import ray

    made = search(
        tmp_path,
        overrides.apply(base, {"train.epochs": EPOCHS}),
        space,
        database,
        "together",
        max_concurrent=1,
        trainer="fake_training:build_slow",
    )
    environment = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    drivers = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", DRIVER, str(tmp_path)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    lines: list[list[str]] = [[], []]

    def read(index: int) -> None:
        stdout = drivers[index].stdout
        assert stdout is not None
        for line in stdout:
            lines[index].append(line.strip())
            if index == 0 and sum("started" in told for told in lines[0]) == 3 and line.startswith("epoch"):
                drivers[0].send_signal(signal.SIGKILL)

    threads = [threading.Thread(target=read, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert drivers[0].wait() == -signal.SIGKILL
    assert drivers[1].wait() == 0, lines[1]
    assert lines[1][-1] == "finished True"
    check_whole(made)
    states = Counter(trial.state for trial in made.study().study.trials)
    assert states[TrialState.COMPLETE] + states[TrialState.PRUNED] == 20
    started = [[line.split()[1] for line in told if line.startswith("started")] for told in lines]
    assert set(started[0]) | set(started[1]) == {f"{number:04d}" for number in range(20)}
    assert len(set(started[0]) & set(started[1])) == 1  # the one that was cut off


def test_a_shared_search_is_not_said_to_be_run_by_nobody(
    tmp_path: Path, base: Config, space: Space, two_cpus: None, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = search(tmp_path, base, space, database, "stopped")

    def stop() -> str:
        with pytest.raises(SystemExit) as ended:
            main(["stop", "stopped", "--storage-path", str(tmp_path)])
        assert ended.value.code == 2
        return capsys.readouterr().err

    with Presence(made.study()):
        why = "its study is in a database, and several drivers may run it: stop each where it runs"
        assert stop() == f"error: stopped: {why} (Ctrl-C, or its queue's command)\n"
    assert stop() == "error: stopped: nobody runs it\n"
