"""What the workers say reaches the driver: in order, once, and not for trials that have ended."""

import time
from typing import Any

import pytest
import ray

from u2pl_ray.search.execution.progress import hear_progress, say

pytestmark = pytest.mark.usefixtures("ray_cluster")


def wait_for(told: list[str], lines: int) -> None:
    until = time.monotonic() + 60
    while len(told) < lines and time.monotonic() < until:
        time.sleep(0.1)


def test_a_trial_that_has_ended_is_not_said_to_go_on() -> None:
    """Its workers are freed a moment before it hears of its end, which looks like a loss to it."""
    told: list[str] = []
    with hear_progress(told.append, lambda waits, life: None, live=lambda trial: trial == "0001"):
        for trial in ("0002", "0001"):
            say(f"{trial} lost a process; it goes on", of=trial)
        say("0002 worker 1 is slow")
        wait_for(told, 2)
    assert told == ["0001 lost a process; it goes on", "0002 worker 1 is slow"]


def test_an_answer_that_comes_too_late_loses_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the actor may take longer to start than the driver waits for an answer."""
    told: list[str] = []
    get = ray.get
    late: list[Any] = []

    def first_too_late(asked: Any, timeout: float) -> Any:
        answer = get(asked)
        if not late:
            late.append(answer)
            raise ray.exceptions.GetTimeoutError
        return answer

    with hear_progress(told.append, lambda waits, life: None, live=lambda trial: True):
        monkeypatch.setattr(ray, "get", first_too_late)
        say("a")
        say("b")
        wait_for(told, 2)
        say("c")
        wait_for(told, 3)
    monkeypatch.setattr(ray, "get", get)
    with hear_progress(told.append, lambda waits, life: None, live=lambda trial: True):
        say("d")
        wait_for(told, 4)
    assert len(late) == 1
    assert told == ["a", "b", "c", "d"]
