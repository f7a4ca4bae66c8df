"""Addresses at which no cluster answers. 127.0.0.2, as Ray makes another of 127.0.0.1."""

import http.server
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from u2pl_ray.config.errors import UserError
from u2pl_ray.search.cluster.connection import check_address, refusal


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def web() -> Iterator[int]:
    """Something that listens and is no head: a web server, as the dashboard is."""
    server = http.server.HTTPServer(("127.0.0.2", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:{free}", "cannot connect (connection refused); start the cluster"),
        ("no-such-host.invalid:6379", "cannot connect ("),
        ("127.0.0.2:{web}", "no Ray head (its port is 6379 by default"),
        ("http://127.0.0.1:8265", "give the head as host:6379"),
        ("ray://127.0.0.1:10001", "give the head as host:6379"),
        ("nonsense", "Invalid address format: nonsense; give the head as host:6379"),
        ("127.0.0.1:port", "give the head as host:6379"),
    ],
)
def test_no_cluster_is_said_in_a_line(web: int, address: str, words: str) -> None:
    address = address.format(free=free_port(), web=web)
    began = time.monotonic()
    with pytest.raises(UserError) as refusal:
        check_address(address, 0.0)
    assert time.monotonic() - began < 20
    said = str(refusal.value)
    assert said.startswith(f"RAY_ADDRESS={address}: ")
    assert words in said
    assert "\n" not in said


def test_a_head_that_comes_up_meanwhile_is_waited_for() -> None:
    port = free_port()

    def answer() -> None:
        time.sleep(1.0)
        with socket.create_server(("127.0.0.2", port)) as server:
            connection, _ = server.accept()
            with connection:
                connection.recv(64)
                connection.sendall(bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    check_address(f"127.0.0.2:{port}")
    thread.join()


@pytest.mark.parametrize(
    ("error", "cause", "words"),
    [
        (ConnectionError("Failed to connect"), RuntimeError("InvalidAuthToken: Authentication token is missing"),
         "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"),
        (RuntimeError("Version mismatch: The cluster was started with:\n  Ray: 1"), None, "(Version mismatch: "),
    ],
)  # fmt: skip
def test_a_cluster_that_does_not_take_us(error: Exception, cause: Exception | None, words: str) -> None:
    error.__cause__ = cause
    said = str(refusal("head:6379", error))
    assert words in said
    assert said.startswith("RAY_ADDRESS=head:6379: cannot connect (")
    assert "\n" not in said
