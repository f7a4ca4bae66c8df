"""A loopback stand-in for the W&B backend: enough of it for the real client to upload runs and ask about them.

It keeps what it was sent in plain dicts, the way the real server does where it matters: history lines are kept by
line number, a run's bucket survives between uploads, a sweep knows its runs. `fault` makes it misbehave.
"""

import contextlib
import gzip
import json
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import unquote

import yaml

ENTITY = "stub-entity"
KEY = "0" * 40

Fault = Literal["", "hang", "error", "rubbish", "empty"]
"""Answer never; with 500; with the wrong types; or with nothing, which crashes the client's service (wandb 0.31)."""


@dataclass
class StubRun:
    """One run as the server knows it."""

    name: str
    project: str
    display_name: str = ""
    group: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    sweep: str | None = None
    lines: dict[int, dict[str, Any]] = field(default_factory=dict)
    """History by line number."""
    sent: list[int] = field(default_factory=list)
    """`_step` of every history line that arrived, repeats included."""
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None
    preempting: bool = False

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [self.lines[number] for number in sorted(self.lines)]

    @property
    def state(self) -> str:
        if self.exit_code is None:
            return "running"
        return "finished" if self.exit_code == 0 else "preempted" if self.preempting else "failed"


class WandbStub:
    """The server; a context manager. `environment` points the client at it."""

    def __init__(self) -> None:
        self.runs: dict[str, StubRun] = {}
        self.sweeps: dict[str, dict[str, Any]] = {}
        self.views: dict[str, dict[str, Any]] = {}
        self.operations: list[str] = []
        self.hosts: set[str] = set()
        self.fault: Fault = ""
        self.lock = threading.RLock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.stub = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

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

    # ------------------------------------------------------------------ GraphQL

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The `data` of one GraphQL request."""
        match = re.search(r"(?:query|mutation)\s+(\w+)", query)
        operation = match.group(1) if match else ""
        self.operations.append(operation)
        if self.fault == "empty" and operation == "CreateRunFiles":
            return {}
        handler = getattr(self, f"_{operation}", None)
        if handler is None and "viewer" in query:
            handler = self._Viewer
        return handler(variables) if handler else {}

    def _Viewer(self, variables: dict[str, Any]) -> dict[str, Any]:
        user = {
            "id": "user",
            "entity": ENTITY,
            "username": ENTITY,
            "email": "",
            "admin": False,
            "flags": "{}",
        }
        return {"viewer": {**user, "name": ENTITY, "teams": {"edges": []}, "apiKeys": {"edges": []}}}

    def _GetDefaultEntity(self, variables: dict[str, Any]) -> dict[str, Any]:
        return self._Viewer(variables)

    def _project(self, name: str) -> dict[str, Any]:
        return {"id": f"project-{name}", "name": name, "entity": {"id": "entity", "name": ENTITY}}

    def _RunResumeStatus(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(variables["name"])
        bucket = None
        if run is not None:
            bucket = {
                "id": f"bucket-{run.name}",
                "name": run.name,
                "displayName": run.display_name,
                "summaryMetrics": json.dumps(run.summary),
                "logLineCount": 0,
                "historyLineCount": len(run.lines),
                "eventsLineCount": 0,
                "historyTail": json.dumps([json.dumps(row) for row in run.rows[-1:]]),
                "eventsTail": "[]",
                "config": json.dumps(run.config),
                "tags": run.tags,
                "notes": None,
                "wandbConfig": json.dumps({"t": 1}),
            }
        return {"model": {**self._project(variables["project"]), "bucket": bucket}}

    def _UpsertBucket(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables["name"]
        inserted = name not in self.runs
        run = self.runs.setdefault(name, StubRun(name, variables["project"]))
        run.display_name = variables.get("displayName") or run.display_name
        run.group = variables.get("groupName") or run.group
        run.tags = variables.get("tags") or run.tags
        run.sweep = variables.get("sweep") or run.sweep
        if variables.get("host"):
            self.hosts.add(variables["host"])
        if variables.get("config"):
            run.config.update(json.loads(variables["config"]))
        if variables.get("displayName"):  # a session of the run begins
            run.exit_code, run.preempting = None, False
        bucket = {
            "id": f"bucket-{name}",
            "name": name,
            "displayName": run.display_name,
            "description": None,
            "config": json.dumps(run.config),
            "sweepName": run.sweep,
            "project": self._project(run.project),
            "historyLineCount": len(run.lines),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _CreateRunFiles(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = variables["run"]
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{run}/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": f"bucket-{run}", "uploadHeaders": [], "files": files}}

    def _UpsertSweep(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables.get("id") or f"sweep{len(self.sweeps):03d}"
        self.sweeps[name] = yaml.safe_load(variables["config"])
        for prior in json.loads(variables.get("priorRunsFilters") or "{}").get("$or", []):
            if prior["name"] in self.runs:
                self.runs[prior["name"]].sweep = name
        sweep = {"id": name, "name": name, "project": self._project(variables["projectName"] or "")}
        return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}

    def _UpsertView2(self, variables: dict[str, Any]) -> dict[str, Any]:
        number = variables.get("id") or f"view{len(self.views):03d}"
        self.views[number] = {**variables, "spec": json.loads(variables["spec"])}
        view = {
            "id": number,
            "name": variables["name"],
            "type": variables["type"],
            "displayName": variables["displayName"],
            "description": variables["description"],
            "project": {"id": "project", "name": variables["projectName"], "entityName": ENTITY},
            "spec": variables["spec"],
            "updatedAt": "2026-01-01T00:00:00Z",
        }
        return {"upsertView": {"view": view, "inserted": "id" not in variables}}

    _upsertView = _UpsertView2

    def _GetProjects(self, variables: dict[str, Any]) -> dict[str, Any]:
        names = sorted({run.project for run in self.runs.values()})
        nodes = [
            {
                "id": name,
                "name": name,
                "entityName": ENTITY,
                "createdAt": "",
                "isBenchmark": False,
                "user": None,
            }
            for name in names
        ]
        edges = [{"cursor": node["id"], "node": node} for node in nodes]
        return {"models": {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}}

    def _ProjectInternalId(self, variables: dict[str, Any]) -> dict[str, Any]:
        known = any(run.project == variables["projectName"] for run in self.runs.values())
        return {"project": {"id": "project", "internalId": "1"} if known else None}

    # ------------------------------------------------------------------ file stream and files

    def stream(self, name: str, message: dict[str, Any]) -> None:
        """One POST of a run's history, summary and state."""
        run = self.runs[name]
        for file, chunk in message.get("files", {}).items():
            content = [json.loads(line) for line in chunk["content"]] if file.endswith(("json", "jsonl")) else []
            if file == "wandb-history.jsonl":
                for number, row in enumerate(content, start=chunk["offset"]):
                    run.lines[number] = row
                    run.sent.append(row["_step"])
            elif file == "wandb-summary.json":
                run.summary.update(content[-1])
        run.preempting = run.preempting or bool(message.get("preempting"))
        if message.get("complete"):
            run.exit_code = message["exitcode"]


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
