import os
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is not a failure; and what CI runs must be the same examples each time.
settings.register_profile("project", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("project")

LONGEST = (
    *("benchmarks/test_gpu_day", "cli/test_end_to_end", "cli/test_failures", "analysis/test_report"),
    *("train/test_world_size", "search/test_placement", "search/test_search", "search/test_wandb"),
    *("search/test_s3", "search/test_budget", "search/test_from_python"),
)
"""Files that take longest: two processes that begin with them end at about the same time. Those of the search, of which
most share a Ray, stand together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files."""
    places = {f"{name}.py": place for place, name in enumerate(LONGEST)}
    folder = Path(__file__).parent
    items.sort(key=lambda item: places.get(item.path.relative_to(folder).as_posix(), len(places)))


@pytest.fixture
def no_ray() -> None:
    """This process is connected to no Ray: for tests that bring a cluster of their own."""
    import ray

    ray.shutdown()
