import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from u2pl_ray.config.errors import UserError
from u2pl_ray.search.storage.lease import Lease
from u2pl_ray.search.storage.lease_marks import FileMark
from u2pl_ray.search.storage.place import Folder

HOLD = """
import sys, time
from pathlib import Path
from u2pl_ray.search.storage.lease import Lease
from u2pl_ray.search.storage.lease_marks import FileMark
with Lease(FileMark(Path(sys.argv[1])), "search"):
    print("held", flush=True)
    time.sleep(60)
"""


def lease(path: Path, **times: float) -> Lease:
    return Lease(FileMark(path), path.parent.name, **times)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "search").mkdir()
    return tmp_path / "search" / "driver.lease"


def test_one_at_a_time(path: Path) -> None:
    with lease(path), pytest.raises(UserError, match=f"search: is being run by process {os.getpid()}"), lease(path):
        pass
    assert not path.exists()
    with lease(path):
        pass


def test_a_killed_owner_is_succeeded_at_once(path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(UserError, match=f"process {holder.pid}"), lease(path):
        pass
    holder.kill()  # and not reaped: a zombie is dead too
    holder.stdout.read()
    started = time.monotonic()
    with lease(path):
        pass
    assert time.monotonic() - started < 5
    holder.wait()


def test_looking_tells_whether_it_is_held_and_keeps_nobody_out(path: Path) -> None:
    assert not lease(path).held()
    with lease(path):
        assert lease(path).held()
    assert not lease(path).held()
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert lease(path).held()
    holder.kill()
    holder.wait()
    assert path.exists()
    assert not lease(path).held()


def test_from_elsewhere_it_is_held_while_it_beats(path: Path) -> None:
    with lease(path, beat=0.05):
        move_to_another_machine(path)
        assert lease(path).held()
    with lease(path, beat=60.0):
        move_to_another_machine(path)
        os.utime(path, (time.time() - 60, time.time() - 60))
        assert not lease(path).held()


def move_to_another_machine(path: Path) -> None:
    """Make the lease another machine's."""
    path.write_text(json.dumps({**json.loads(path.read_text()), "machine": "another"}))


def test_an_owner_elsewhere_is_refused_while_it_beats(path: Path) -> None:
    with lease(path, beat=0.05):
        move_to_another_machine(path)
        with pytest.raises(UserError, match="on another machine"), lease(path, stale=2.0):
            pass


ALONE = ["unshare", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"]
TAKE = """
import sys
from pathlib import Path
from u2pl_ray.config.errors import UserError
from u2pl_ray.search.storage.lease import Lease
from u2pl_ray.search.storage.lease_marks import FileMark
try:
    with Lease(FileMark(Path(sys.argv[1])), "search", stale=3.0):
        print("taken")
except UserError as error:
    print(error)
"""


def test_an_owner_in_another_container_of_this_machine_is_not_taken_for_dead(path: Path) -> None:
    """Its process id says nothing there: a container has numbers of its own, and may have the same host name."""
    if subprocess.run([*ALONE, "true"], capture_output=True).returncode:
        pytest.skip("process namespaces are not permitted")
    with lease(path, beat=0.2):
        for command in ([sys.executable], [*ALONE, sys.executable]):
            said = subprocess.run([*command, "-c", TAKE, str(path)], capture_output=True, text=True, check=True).stdout
            assert "being run" in said
            assert ("in another container" in said) == (command[0] == "unshare")


def test_an_owner_elsewhere_is_succeeded_when_it_is_quiet(path: Path) -> None:
    with lease(path, beat=60.0):
        move_to_another_machine(path)
        with lease(path, stale=0.3):
            assert json.loads(path.read_text())["machine"] != "another"


def test_the_predecessor_does_not_take_it_away(path: Path) -> None:
    first = lease(path, beat=60.0)
    first.__enter__()
    move_to_another_machine(path)
    with lease(path, stale=0.2):
        first.__exit__(None, None, None)
        assert path.exists()


DAMAGED = [
    b"",
    b"[]",
    b"{}",
    bytes(90),
    b'{"id": "a", "machine": "b", "proc',
    b'{"id": "a", "machine": "b", "process": "c", "born": null}',
    b"\xff\xfe",
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_lease_is_nobodys(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with lease(path, beat=0.1):
        assert json.loads(path.read_text())["process"] == os.getpid()


@pytest.mark.parametrize("content", [None, b"", DAMAGED[4]])
def test_one_that_lives_makes_it_whole_again(path: Path, content: bytes | None) -> None:
    with lease(path, beat=0.1):
        before = path.read_bytes()
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
            with pytest.raises(UserError, match=f"process {os.getpid()}"), lease(path, beat=1.0):
                pass
        until = time.monotonic() + 10
        while not path.exists() and time.monotonic() < until:
            time.sleep(0.05)
        assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == []


def test_one_whose_lease_was_deleted_and_taken_stops(path: Path) -> None:
    place = Folder(path.parent)
    with place.session():
        place.commit()
        path.unlink()
        with lease(path):
            held = place._lease
            assert held is not None
            held._hold()
            with pytest.raises(OSError, match="on this machine has taken over: this driver stops"):
                place.commit()
            assert not lease(path).lost
        assert not path.exists()


def test_a_place_for_it_that_is_gone_is_said_in_a_line(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=r"absent: its driver\.lease cannot be taken"),
        lease(tmp_path / "absent" / "driver.lease"),
    ):
        pass


def test_of_many_at_once_one_gets_it(path: Path) -> None:
    got, done = [], threading.Event()

    def contend() -> None:
        with contextlib.suppress(UserError), lease(path):
            got.append(threading.get_ident())
            done.wait(10)

    threads = [threading.Thread(target=contend) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(3)  # refusals come after a moment of patience
    assert len(got) == 1
    done.set()
    for thread in threads:
        thread.join()
    assert list(path.parent.iterdir()) == []


def test_the_thread_ends(path: Path) -> None:
    before = threading.active_count()
    with lease(path):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
