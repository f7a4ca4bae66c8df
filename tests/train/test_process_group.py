"""The interface that gloo is told to use."""

import pytest
from ray.train.torch.config import _TorchBackend

from u2pl_ray.train.process_group import NodeTorchConfig, interface_of


@pytest.mark.parametrize(("address", "name"), [("127.0.0.1", "lo"), ("203.0.113.1", None)])
def test_the_interface_of_an_address(address: str, name: str | None) -> None:
    assert interface_of(address) == name


def test_rays_backend_has_the_hook_that_ours_adds_to() -> None:
    """If a new Ray drops `_TorchBackend.on_start`, set GLOO_SOCKET_IFNAME at the start of the worker's function."""
    backend = NodeTorchConfig(backend="gloo").backend_cls
    assert issubclass(backend, _TorchBackend)
    assert backend.on_start is not _TorchBackend.on_start
