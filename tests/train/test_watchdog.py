import faulthandler
import subprocess
import sys
from collections.abc import Iterator

import pytest

from u2pl_ray.train.watchdog import ENDED, LIFE, NAMED, Watchdog

HANGS = """
import ctypes, sys, time
from u2pl_ray.train import watchdog
watchdog.LOOK, watchdog._FROZEN = 0.1, 1.0
dog = watchdog.Watchdog(0.5, lambda what, seconds: None, lambda why: print(why, flush=True))
with dog.watching():
    for step in range(3):
        dog.at(f"step {step}")
        time.sleep(0.3)
    dog.at("a store that does not answer")
    {hang}
"""


@pytest.fixture
def stays_alive() -> Iterator[None]:
    """Take back the end of this process that a look has ordered for the case that no other look follows."""
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.mark.usefixtures("stays_alive")
def test_a_wait_is_told_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    told: list[tuple[str, float]] = []
    said: list[str] = []
    codes: list[int] = []
    dog = Watchdog(60.0, lambda *wait: told.append(wait), said.append, codes.append)
    dog.look()
    assert told == [("its start", 0.0)]  # a sign of life
    dog.at("a step")
    now += NAMED - 1
    dog.look()
    assert len(told) == 1
    now += 2
    dog.look()
    assert told[1:] == [("a step", NAMED + 1)]
    dog.at("another step")
    now += 5
    dog.look()
    assert len(told) == 2
    dog.at("another step")
    now += LIFE - 5
    dog.at("another step")
    dog.look()
    assert told[2:] == [("another step", 0.0)]
    now += 61
    dog.look()
    assert (said, codes) == (["waited 61 s for another step"], [ENDED])
    dog.at("a batch", 20.0)
    now += 19
    dog.look()
    assert len(codes) == 1
    now += 2
    dog.look()
    assert said[1:] == ["waited 21 s for a batch"]
    dog.at("a step")
    now += 30
    dog.look()
    assert len(codes) == 2


@pytest.mark.parametrize(
    ("hang", "code"),
    [
        ("time.sleep(60)", ENDED),
        # C code that keeps the interpreter to itself: no thread of Python can run.
        ("ctypes.PyDLL(None).sleep(60)", 1),
    ],
)
def test_a_process_that_hangs_is_ended(hang: str, code: int) -> None:
    command = [sys.executable, "-c", HANGS.replace("{hang}", hang)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == code
    assert 'File "<string>", line 11 in <module>' in done.stderr  # where it hangs
    if code == ENDED:
        assert "for a store that does not answer" in done.stdout
