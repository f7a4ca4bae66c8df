"""What the W&B backend answers, from what it was sent: kept in plain dicts, as the real server does where it matters.

History lines are kept by line number, a run's bucket survives between uploads, a sweep knows its runs.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

ENTITY = "stub-entity"

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


class Backend:
    """Runs, sweeps and workspaces; `fault` makes it misbehave.

    Args:
        url: where files are to be uploaded.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.runs: dict[str, StubRun] = {}
        self.sweeps: dict[str, dict[str, Any]] = {}
        self.views: dict[str, dict[str, Any]] = {}
        self.operations: list[str] = []
        self.hosts: set[str] = set()
        self.fault: Fault = ""

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
