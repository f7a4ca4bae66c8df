import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tracking.stub import WandbStub


@pytest.fixture(autouse=True)
def own_wandb(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No setting, key or file of whoever runs the tests; a fresh client for every test."""
    home = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(home))
    yield
    _forget_client()


def _forget_client() -> None:
    import wandb
    from wandb.sdk import wandb_setup
    from wandb.sdk.lib import wbauth

    with contextlib.suppress(Exception, SystemExit):  # its service may have been killed: -9
        wandb.teardown()
    wandb_setup._singleton = None
    with contextlib.suppress(Exception, SystemExit):  # its service may have been killed: -9
        wbauth.unauthenticate_session(update_settings=False)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbStub]:
    """A server that the client talks to."""
    with WandbStub() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """An experiment's directory."""
    return tmp_path / "search"
