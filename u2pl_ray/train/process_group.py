"""The process group of a training's workers: gloo uses the network that carries the node's Ray address.

Left to itself gloo looks up the host's name, and binds to 127.0.0.1 where the name does not resolve, or resolves to
that (as on Debian): workers on two nodes then never find each other.
"""

import fcntl
import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend

_VARIABLE = "GLOO_SOCKET_IFNAME"
_SIOCGIFADDR = 0x8915
"""Request for an interface's IPv4 address, netdevice(7)."""


@dataclass
class NodeTorchConfig(TorchConfig):
    """Ray's `TorchConfig`, with the network interface chosen on each node; a set `GLOO_SOCKET_IFNAME` is kept."""

    @property
    def backend_cls(self) -> Any:
        """See `TorchConfig`."""
        return _NodeBackend


class _NodeBackend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        worker_group.execute(choose_interface)
        super().on_start(worker_group, backend_config)


def choose_interface() -> None:
    """Name the interface that has this node's Ray address, for gloo; do nothing if none has."""
    import ray

    name = interface_of(ray.util.get_node_ip_address())
    if name is not None:
        os.environ.setdefault(_VARIABLE, name)


def interface_of(address: str) -> str | None:
    """Return the name of the network interface whose first IPv4 address is `address`; None if there is none (Linux)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # an interface without an address
                answer = fcntl.ioctl(asked.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    return None
