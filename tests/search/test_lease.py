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
from u2pl_ray.search.lease import Lease

HOLD = """
import sys, time
from pathlib import Path
from u2pl_ray.search.lease import Lease
with Lease(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "search").mkdir()
    return tmp_path / "search" / "driver.lease"


def test_one_at_a_time(path: Path) -> None:
    with Lease(path), pytest.raises(UserError, match=f"search: is being run by process {os.getpid()}"), Lease(path):
        pass
    assert not path.exists()
    with Lease(path):
        pass


def test_a_killed_owner_is_succeeded_at_once(path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(UserError, match=f"process {holder.pid}"), Lease(path):
        pass
    holder.kill()  # and not reaped: a zombie is dead too
    holder.stdout.read()
    started = time.monotonic()
    with Lease(path):
        pass
    assert time.monotonic() - started < 5
    holder.wait()


def test_looking_tells_whether_it_is_held_and_keeps_nobody_out(path: Path) -> None:
    assert not Lease(path).held()
    with Lease(path):
        assert Lease(path).held()
    assert not Lease(path).held()
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert Lease(path).held()
    holder.kill()
    holder.wait()
    assert path.exists()
    assert not Lease(path).held()


def test_from_elsewhere_it_is_held_while_it_beats(path: Path) -> None:
    with Lease(path, beat=0.05):
        elsewhere(path)
        assert Lease(path).held()
    with Lease(path, beat=60.0):
        elsewhere(path)
        os.utime(path, (time.time() - 60, time.time() - 60))
        assert not Lease(path).held()


def elsewhere(path: Path) -> None:
    """Make the lease another machine's."""
    path.write_text(json.dumps({**json.loads(path.read_text()), "machine": "another"}))


def test_an_owner_elsewhere_is_refused_while_it_beats(path: Path) -> None:
    with Lease(path, beat=0.05):
        elsewhere(path)
        with pytest.raises(UserError, match="on another machine"), Lease(path, stale=2.0):
            pass


def test_an_owner_elsewhere_is_succeeded_when_it_is_quiet(path: Path) -> None:
    with Lease(path, beat=60.0):
        elsewhere(path)
        with Lease(path, stale=0.3):
            assert json.loads(path.read_text())["machine"] != "another"


def test_the_predecessor_does_not_take_it_away(path: Path) -> None:
    first = Lease(path, beat=60.0)
    first.__enter__()
    elsewhere(path)
    with Lease(path, stale=0.2):
        first.__exit__(None, None, None)
        assert path.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_damaged_lease_is_nobodys(path: Path, content: str) -> None:
    path.write_text(content)
    with Lease(path):
        assert json.loads(path.read_text())["process"] == os.getpid()


def test_of_many_at_once_one_gets_it(path: Path) -> None:
    got, done = [], threading.Event()

    def contend() -> None:
        with contextlib.suppress(UserError), Lease(path):
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
    with Lease(path):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
