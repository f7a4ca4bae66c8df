"""A loopback stand-in for the W&B server: enough of it for the real client to upload runs and ask about them."""

import contextlib
import gzip
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from tests.tracking.stub_backend import Backend

KEY = "0" * 40


class WandbStub(Backend):
    """The server; a context manager. `environment` points the client at it."""

    def __init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        super().__init__(f"http://127.0.0.1:{self._server.server_port}")
        self.lock = threading.RLock()
        self._server.stub = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def environment(self) -> dict[str, str]:
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, "WANDB_ERROR_REPORTING": "false"}

    def __enter__(self) -> "WandbStub":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.die()

    def die(self) -> None:
        """Stop at once: open connections are cut, new ones refused."""
        self._server.shutdown()
        self._server.server_close()
        with self.lock:
            for connection in list(self._server.connections):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    stub: WandbStub

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.connections: list[socket.socket] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that were killed


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.connections.append(self.connection)

    def log_message(self, *_: object) -> None:
        pass

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _reply(self, content: Any, code: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _fault(self) -> bool:
        fault = self.server.stub.fault
        if fault == "hang":
            while self.server.stub.fault == "hang":
                time.sleep(0.1)
        elif fault == "error":
            self._reply({"error": "internal"}, 500)
            return True
        elif fault == "rubbish":
            self._reply({"data": {"model": 7, "upsertBucket": {}, "createRunFiles": None}})
            return True
        return False

    def do_POST(self) -> None:
        body = self._body()
        if self._fault():
            return
        stub = self.server.stub
        with stub.lock:
            if self.path.endswith("/graphql"):
                request = json.loads(body)
                self._reply({"data": stub.answer(request["query"], request.get("variables") or {})})
            elif self.path.endswith("/file_stream"):
                stub.stream(self.path.split("/")[-2], json.loads(body))
                self._reply({"exitcode": None, "limits": {}})
            else:
                self._reply({})

    def do_PUT(self) -> None:
        body = self._body()
        if self._fault():
            return
        _, _, run, name = unquote(self.path).split("/", 3)
        with self.server.stub.lock:
            self.server.stub.runs[run].files[name] = body
        self._reply({})

    def do_GET(self) -> None:
        self._reply({})
