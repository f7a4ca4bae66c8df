import os
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is not a failure; and what CI runs must be the same examples each time.
settings.register_profile("project", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("project")

_TOGETHER = ("analysis",)
"""Folders whose tests share what is costly to make."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keep the tests of a file (or of a whole folder, see above) in one of the processes of `pytest -n`."""
    folder = Path(item.path).parent.name
    item.add_marker(pytest.mark.xdist_group(folder if folder in _TOGETHER else item.nodeid.partition("::")[0]))
