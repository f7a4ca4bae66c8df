"""Experiments on a real S3 server, without Ray."""

import json
import time
from pathlib import Path

import pytest
from fake_training import miou

from tests.search.small_search import searched, train
from tests.search.stored import a_plan, lease
from tests.train.conftest import tiny
from u2pl_ray.cli import main
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.experiment import plan
from u2pl_ray.search.experiment.confirm import plan_confirmation
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.extend import extend
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.storage import lease_marks, mirror
from u2pl_ray.search.storage.mirror import Mirror
from u2pl_ray.search.storage.object_store import Objects
from u2pl_ray.search.storage.place import Folder, experiments, find, writable
from u2pl_ray.search.study.trial_record import State


def test_it_is_there_from_anywhere(storage: str, base: Config, space: Space) -> None:
    made = a_plan(storage, base, space).create()
    assert made.place.location == f"{storage}/a"
    for name, where in (("a", storage), (f"{storage}/a", None)):
        found = Experiment.open(name, where)
        assert found.folder != made.folder
        assert (found.config, found.options) == (base, made.options)
    assert experiments(storage) == ["a"]
    with pytest.raises(UserError, match="--name a: exists already"):
        a_plan(storage, base, space).create()
    with pytest.raises(UserError, match=f"{storage}/aa: no such experiment; did you mean 'a'"):
        Experiment.open("aa", storage)


def test_what_was_decided_is_stored_before_it_is_acted_on(storage: str, base: Config, space: Space) -> None:
    """Each step is followed by looking at a fresh copy, as a new machine would after a kill."""
    made = a_plan(storage, base, space).create()
    driver = Driver(made.study(), base, 2, made.folder / "trials", None, made.place.commit)

    def fresh_copy() -> Experiment:
        return Experiment.open("a", storage)

    first = driver.next()
    assert first is not None
    (record,) = fresh_copy().study().records()
    assert (record.state, record.params) == (State.RUNNING, made.study().record(0).params)
    assert (fresh_copy().folder / "trials" / first.trial / "config.yaml").exists()
    for epoch in range(1, base.train.epochs + 1):
        driver.report("0000", {"training_iteration": epoch, "val/miou": miou(first.config, epoch)})
        assert len(fresh_copy().epochs("0000")) == epoch
        assert fresh_copy().study().record(0).epochs == epoch
    assert fresh_copy().study().record(0).state == State.COMPLETED
    made.write_best()
    made.place.commit()
    assert (fresh_copy().folder / "best.yaml").read_text() == (made.folder / "best.yaml").read_text()
    assert extend(fresh_copy(), 4)[0].options.trials == 7
    assert fresh_copy().options.trials == 7


def test_checkpoints_stay_there(storage: str, base: Config, space: Space) -> None:
    made = a_plan(storage, base, space).create()
    row = {"training_iteration": 1, "val/miou": 0.5, "checkpoint": "train/epoch_00001"}
    (made.folder / "trials" / "0000").mkdir(parents=True)
    (made.folder / "trials" / "0000" / "epochs.jsonl").write_text(json.dumps(row) + "\n")
    made.place.commit()
    assert Experiment.open("a", storage).checkpoint("0000") is None
    Objects(f"{storage}/a/trials/0000").write("train/epoch_00001/checkpoint.pt", b"weights")
    found = Experiment.open("a", storage)
    assert found.checkpoint("0000") == f"{storage}/a/trials/0000/train/epoch_00001"
    assert not (found.folder / "trials" / "0000" / "train").exists()


def test_the_rest_follows(storage: str, base: Config, space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "_LAG", 0.2)
    monkeypatch.setattr(mirror, "_SETTLE", 0.0)
    made = a_plan(storage, base, space).create()
    stored = Objects(made.place.location)
    with made.place.session():
        run = made.folder / "wandb" / "offline-run-1" / "run-1.wandb"
        run.parent.mkdir(parents=True)
        run.write_bytes(b"12")
        made.place.commit()
        deadline = time.monotonic() + 20
        while stored.read("wandb/offline-run-1/run-1.wandb") != b"12" and time.monotonic() < deadline:
            time.sleep(0.05)
        run.write_bytes(b"1234")
        (made.folder / "report.html").write_text("report")
        (made.folder / "tune").mkdir()
        (made.folder / "tune" / "scratch").write_text("")
        assert made.is_running()
    assert stored.read("wandb/offline-run-1/run-1.wandb") == b"1234"
    assert stored.read("report.html") == b"report"
    assert not [name for name in stored.names() if name.startswith("tune") or "lease" in name or "lock" in name]
    assert not made.is_running()


def test_it_is_held_from_its_start(storage: str, base: Config, space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    """From before anything is stored until it runs, and within one session another one changes nothing."""
    monkeypatch.setattr(lease_marks, "_SETTLE", 0.0)
    planned = a_plan(storage, base, space)
    with planned.place.starting():
        with pytest.raises(UserError, match="a: is being started"):
            Experiment.open("a", storage)
        with pytest.raises(UserError, match="is being run by process"), Mirror(planned.place.location).starting():
            pass
        made = planned.create()
        with made.place.session(), made.place.session():
            made.place.commit()
        assert Experiment.open("a", storage).is_running()
    assert not made.is_running()


def test_a_copy_is_fresh_under_the_lease(storage: str, base: Config, space: Space) -> None:
    """Another machine ran it between `open` and `session`."""
    made = a_plan(storage, base, space).create()
    extend(Experiment.open("a", storage), 2)
    with made.place.session():
        assert json.loads((made.folder / "experiment.json").read_text())["options"]["trials"] == 5


def test_one_driver_at_a_time(storage: str, base: Config, space: Space) -> None:
    made = a_plan(storage, base, space).create()
    with (
        made.place.session(),
        pytest.raises(UserError, match="a: is being run by process"),
        Experiment.open("a", storage).place.session(),
    ):
        pass
    with Experiment.open("a", storage).place.session():
        pass


def move_to_another_machine(storage: str) -> None:
    """Make the lease another machine's."""
    objects = Objects(storage)
    owner = json.loads(objects.read("driver.lease") or b"")
    objects.write("driver.lease", json.dumps({**owner, "machine": "x"}).encode())


def test_a_driver_elsewhere_is_refused_while_it_beats(storage: str) -> None:
    first = lease(storage, 0.5, 60.0)
    first._mine["machine"] = "x"
    with first, pytest.raises(UserError, match="on another machine"), lease(storage, 5.0, 20.0):
        pass


def test_a_driver_that_was_taken_for_dead_stops(storage: str, base: Config, space: Space) -> None:
    made = a_plan(storage, base, space).create()
    where = made.place.location
    with made.place.session():
        move_to_another_machine(where)
        with lease(where, 60.0, 0.5):  # hears nothing for half a second
            held = made.place._lease  # type: ignore[attr-defined]
            held._hold()
            assert held.lost
            with pytest.raises(OSError, match="on this machine has taken over: this driver stops"):
                made.place.commit()
    assert not lease(where, 1.0, 1.0).held()


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("s3://no-such-bucket/x", "there is no such bucket"),
        ("s3://key:secret@bucket/x", "holds credentials"),
        ("s3://bucket/x?region=here", "options are not part of it"),
        ("nonsense://bucket/x", "nonsense"),
    ],
)
def test_a_storage_that_cannot_be_used_is_refused(bucket: str, uri: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as refusal:
        writable(uri)
    assert "secret@" not in str(refusal.value)


def test_a_path_is_a_folder(tmp_path: Path) -> None:
    for name in (str(tmp_path / "a"), f"file://{tmp_path}/a"):
        place = find(name)
        assert isinstance(place, Folder)
        assert place.folder == tmp_path / "a"


def test_planning_asks_the_store(bucket: str, base: Config, space: Space) -> None:
    with pytest.raises(UserError, match="there is no such bucket"):
        plan.plan_search(base, space, name="a", trials=1, storage_path="s3://no-such-bucket/x")


def test_a_confirmation_stores_the_searchs_new_best(
    storage: str, two_cpus: None, capsys: pytest.CaptureFixture[str]
) -> None:
    made = searched(storage, tiny())
    made.write_best()
    made.place.publish()
    stored = Objects(made.place.location)
    before = stored.read("best.yaml")
    confirmation = plan_confirmation(made, top=2, seeds=3).create()
    train(confirmation)
    confirmation.place.publish()
    for verb in (["confirm", "a"], ["confirm", "a", "--json"]):
        stored.write("best.yaml", before or b"")
        with pytest.raises(SystemExit) as ended:
            main([*verb, "--storage-path", storage])
        assert not ended.value.code, capsys.readouterr()
        after = stored.read("best.yaml")
        assert after not in (None, before)
        assert b"Seeds alone spread by" in (after or b"").splitlines()[0]  # known from the confirmation alone


def test_a_look_fetches_what_changed(storage: str, base: Config, space: Space) -> None:
    made = a_plan(storage, base, space).create()
    stored = Objects(made.place.location)
    pictures = ["wandb/offline-run-1/run-1.wandb", "trials/0000/images/epoch_00001/val.a.image.jpg"]
    for name in pictures:
        stored.write(name, b"12")
    time.sleep(6)
    stored.write("results.json", b"[]")
    looking = Experiment.open("a", storage)
    assert isinstance(looking.place, Mirror)
    read: list[str] = []
    objects = looking.place._objects
    plain = objects.read

    def counted(name: str) -> bytes | None:
        read.append(name)
        return plain(name)

    objects.read = counted  # type: ignore[method-assign]
    looking.place.fetch()
    assert read == ["results.json"]  # in the second of the newest object it could have changed again
    assert not any((looking.folder / name).exists() for name in pictures)
    stored.write("study.journal", (stored.read("study.journal") or b"").replace(b"a", b"b"))  # as large as before
    (looking.folder / "config.yaml").write_text("")  # what was written here counts for nothing
    read.clear()
    looking.place.fetch()
    assert sorted(read) == ["config.yaml", "results.json", "study.journal"]
    assert (looking.folder / "study.journal").read_bytes() == stored.read("study.journal")
    assert (looking.folder / "config.yaml").read_bytes() == stored.read("config.yaml")
    read.clear()
    for _ in range(2):
        looking.place.complete()
        assert [(looking.folder / name).read_bytes() for name in pictures] == [b"12"] * 2
    assert sorted(read) == sorted(pictures)
    stored.write(pictures[0], b"1234")
    with looking.place.session():
        assert (looking.folder / pictures[0]).read_bytes() == b"1234"
        (looking.folder / pictures[0]).write_bytes(b"123456")
        looking.place.complete()
        assert (looking.folder / pictures[0]).read_bytes() == b"123456"
    assert stored.read(pictures[0]) == b"123456"
    read.clear()
    looking.place.complete()  # as for the report at the end of a run: nothing that this process stored
    assert read == []
