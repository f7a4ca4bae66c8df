"""Kill a search in this process at every write and decision, one after another, until it gets to its end."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from u2pl_ray.search.study.journal import Journal
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.trials.epoch_log import EpochLog

Place = tuple[type, str]

KILL_POINTS: dict[str, Place] = {
    "journal": (Journal, "append_logs"),
    "epochs": (EpochLog, "append"),
    "decision": (TrialStudy, "should_stop"),
}
"""Writes, and the decision, that a kill can come before or after."""


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it runs."""


def kill_until_it_ends(
    places: Sequence[Place],
    patches: pytest.MonkeyPatch,
    search: Callable[[], Any],
    countdown: Callable[[int], int],
    after: Callable[[], None] = lambda: None,
) -> int:
    """Run a search anew after every kill until it ends; return the number of kills.

    Args:
        places: functions, as class and name, before and after which to kill.
        patches: undone after every run.
        search: goes on with the search, to its end.
        countdown: by the number of kills so far, the count of begins and ends of the functions up to the next.
        after: called after every kill.
    """
    kills = 0
    while True:
        left = [countdown(kills)]

        def act(left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Killed

        with patches.context() as patch:
            for owner, name in places:
                patch.setattr(owner, name, _wrapped(getattr(owner, name), act))
            try:
                search()
                return kills
            except Killed:
                kills += 1
        after()


def _wrapped(function: Callable[..., Any], act: Callable[[], None]) -> Callable[..., Any]:
    def wrapper(*arguments: Any) -> Any:
        act()
        result = function(*arguments)
        act()
        return result

    return wrapper
