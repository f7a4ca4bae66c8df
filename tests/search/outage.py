"""A line to a server that can be cut."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit


class Line:
    """Passes on what comes to a port of this machine, except while it is cut.

    Args:
        port: the server's.

    Attributes:
        port: this one's.
    """

    def __init__(self, port: int) -> None:
        self._to, self._whole = port, True
        self._live: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Close all connections, and every new one, until `mend`."""
        self._whole = False
        for each in list(self._live):
            _close(each)

    def mend(self) -> None:
        """Pass on again."""
        self._whole = True

    def close(self) -> None:
        """For good."""
        self._whole = False
        _close(self._listener)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self._whole:
                _close(client)
                continue
            server = socket.create_connection(("127.0.0.1", self._to))
            self._live |= {client, server}
            for ends in ((client, server), (server, client)):
                threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(1 << 16):
                target.sendall(block)
        for each in (source, target):
            _close(each)
            self._live.discard(each)


@contextlib.contextmanager
def line_to_store() -> Iterator[Line]:
    """A line that the environment's AWS_ENDPOINT_URL leads over meanwhile."""
    before = os.environ["AWS_ENDPOINT_URL"]
    line = Line(urlsplit(before).port or 0)
    os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{line.port}"
    try:
        yield line
    finally:
        os.environ["AWS_ENDPOINT_URL"] = before
        line.close()


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
