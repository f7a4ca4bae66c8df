"""A store that answers late or not at all: what is waited for, what is said, and that nothing is lost. Without Ray."""

import threading
import time
from dataclasses import replace

import pytest
from outage import line_to_store

from tests.search.stored import a_plan, lease
from u2pl_ray.analysis.load import analyse
from u2pl_ray.analysis.report import write_report
from u2pl_ray.cli.checkpoints import _publish
from u2pl_ray.config.errors import LostError, UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.assignment import Outcome
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.execution import failures, trial_actor
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.extend import extend
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.storage import mirror
from u2pl_ray.search.storage.mirror import Mirror
from u2pl_ray.search.storage.object_store import Objects
from u2pl_ray.search.storage.place import locate
from u2pl_ray.search.study.trial_record import State


def test_an_outage_is_waited_for(storage: str, base: Config, space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    made = a_plan(storage, base, space).create()
    monkeypatch.setattr(mirror, "_PATIENCE", (0.0, 0.0, 0.0))
    place = made.place
    assert isinstance(place, Mirror)
    calls, write = [], place._objects.write

    def failing(name: str, content: bytes) -> None:
        calls.append(name)
        if len(calls) < 3:
            raise OSError("503 SlowDown")
        write(name, content)

    monkeypatch.setattr(place._objects, "write", failing)
    extend(made, 1)
    assert calls == ["start/experiment.json"] * 3 + ["experiment.json"]
    assert Experiment.open("a", storage).options.trials == 4


def test_a_real_outage_is_waited_for_and_costs_no_lease(storage: str, base: Config, space: Space) -> None:
    """The line to the store is cut for longer than pyarrow tries by itself."""
    with line_to_store() as line:
        made = a_plan(storage, base, space).create()
        driver = Driver(made.study(), base, 1, made.folder / "trials", None, made.place.commit)
        with made.place.session(), lease(f"{storage}/b", 0.2, 30.0) as beating:
            line.cut()
            threading.Timer(8.0, line.mend).start()
            began = time.monotonic()
            assert driver.next() is not None
            assert time.monotonic() - began > 7.0
            driver.report("0000", {"training_iteration": 1, "val/miou": 0.5})
            time.sleep(0.5)
            assert not beating.lost
    found = Experiment.open("a", storage)
    assert found.study().record(0).values == {1: 0.5}
    assert [row["training_iteration"] for row in found.epochs("0000")] == [1]


def test_a_store_that_is_gone_is_said_in_a_line(storage: str, base: Config, space: Space) -> None:
    with line_to_store() as line:
        made = a_plan(storage, base, space).create()
        line.cut()
        refusal = r"a: its driver\.lease cannot be taken \(.*NETWORK_CONNECTION"
        with pytest.raises(UserError, match=refusal), made.place.session():
            pass


def test_a_confirmation_out_of_reach_is_not_taken_for_none(storage: str, base: Config, space: Space) -> None:
    """Without it the answer would be another one. It is fetched once."""
    with line_to_store() as line:
        search = a_plan(storage, base, space).create()
        assert search.borrowed_trainings() == []
        confirming = a_plan(storage, base, space)
        place, options = locate("a-confirm", storage), replace(confirming.options, confirms="a")
        confirmation = replace(confirming, name="a-confirm", place=place, options=options).create()
        record = confirmation.study().start_new()
        confirmation.study().report(record.number, 1, 0.5)
        confirmation.place.commit()
        line.cut()
        with pytest.raises(UserError, match="a-confirm: "):
            search.borrowed_trainings()
        line.mend()
        assert len(search.borrowed_trainings()) == 1
        line.cut()
        assert len(search.borrowed_trainings()) == 1


def test_results_are_not_lost_beside_a_search_or_an_outage(
    storage: str, base: Config, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_plan(storage, base, space).create()
    driver, other = Experiment.open("a", storage), Experiment.open("a", storage)
    with driver.held():
        with pytest.raises(UserError, match=r"a/results\.json: can't be written while the search runs; give --output"):
            other.check_writable("results.json")
        with pytest.raises(UserError, match="while the search runs"):
            _publish(other, "results.json")
        with pytest.raises(UserError, match=r"report\.html: can't be written while the search runs"):
            write_report([analyse(other)], None)
    (other.folder / "results.json").write_text("{}")
    assert _publish(other, "results.json") == f"{storage}/a/results.json"
    assert Objects(f"{storage}/a").read("results.json") == b"{}"
    (other.folder / "results.json").write_text("{} ")
    monkeypatch.setattr(mirror, "_PATIENCE", (0.0,))
    with line_to_store() as line:
        late = Experiment.open("a", storage)
        (late.folder / "results.json").write_text("{} ")
        line.cut()
        with pytest.raises(LostError, match="was not stored"):
            _publish(late, "results.json")


def test_a_training_that_cannot_reach_the_store_is_started_again(
    storage: str, base: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(trial_actor, "say", lambda line, of="": said.append(line))
    monkeypatch.setattr(failures, "_OUTAGE_SECONDS", 0.2)
    with line_to_store() as line:
        line.cut()
        threading.Timer(8.0, line.mend).start()
        training = trial_actor.Training(
            *(lambda group: None, lambda: None, "fake_training:build_stored"),
            config=base, storage_path=f"{storage}/0000", name="train", reported_epochs=0,
        )  # fmt: skip
        told = [training.next() for _ in range(base.train.epochs + 1)]
        assert training.stop()
    assert [row["training_iteration"] for row in told[:-1] if isinstance(row, dict)] == list(range(1, 10))
    assert told[-1] == Outcome(State.COMPLETED)
    assert set(said) == {"0000 cannot reach the storage; it goes on after epoch 0"}
