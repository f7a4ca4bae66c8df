import pytest

from tests.cluster.hosts import missing


@pytest.fixture(autouse=True, scope="session")
def permitted() -> None:
    """Skip, and say why, where this machine does not give us hosts of our own."""
    if lacks := missing():
        pytest.skip(lacks)
