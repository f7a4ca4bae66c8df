import faulthandler
import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

# Ray would start itself where a call needs it. Where a thread calls, Ray ends with it, and the process a minute later.
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
# Every core has a test to run: threads that wait for each other beside it take ten times the time of small sums.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A busy machine is not a failure; and what CI runs must be the same examples each time.
settings.register_profile("project", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("project")

LONGEST = (
    *("benchmarks/test_gpu_day", "cli/test_end_to_end", "cli/test_failures", "analysis/test_report"),
    *("train/test_world_size", "search/test_search", "search/test_wandb"),
    *("search/test_s3", "search/test_budget", "search/test_from_python"),
)
"""Files that take longest: two processes that begin with them end at about the same time. Those of the search, of which
most share a Ray, stand together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files."""
    places = {f"{name}.py": place for place, name in enumerate(LONGEST)}
    folder = Path(__file__).parent
    items.sort(key=lambda item: places.get(item.path.relative_to(folder).as_posix(), len(places)))


_CLEANING = 300.0
"""Seconds that a test may take beyond its time-out, for cleaning up."""
_STDERR = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep stderr, for the stacks of a test that hangs: while tests run, pytest has it for itself."""
    config.stash[_STDERR] = os.dup(sys.__stderr__.fileno()) if sys.__stderr__ else 2


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool, bool]:
    """End the process, with the stack of every thread, where a test hangs beyond its time-out.

    pytest-timeout interrupts a test once. It does not end one that hangs in C code, or in its cleaning up.
    """
    marker = item.get_closest_marker("timeout")
    limit = marker.args[0] if marker else item.config.getvalue("timeout") or item.config.getini("timeout")
    faulthandler.dump_traceback_later(float(limit) + _CLEANING, exit=True, file=item.config.stash[_STDERR])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def no_ray() -> None:
    """This process is connected to no Ray: for tests that bring a cluster of their own."""
    import ray

    ray.shutdown()
