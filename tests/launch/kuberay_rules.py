"""What KubeRay and Kubernetes refuse in a manifest: the schema of the resource, and rules that no schema holds.

The rules are those of KubeRay v1.7.0's `ray-operator/controllers/ray/utils/validation.go` that concern what is used
here, and of Kubernetes' admission of pods.
"""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from tests.launch.manifests import pods

SCHEMAS = Path(__file__).parent / "schemas"


@cache
def _schema(kind: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads((SCHEMAS / f"{kind.lower()}.v1.schema.json").read_text()))


def refusals(manifest: dict[str, Any]) -> list[str]:
    """Return why a RayJob or RayCluster is refused, one line a reason; none if it is accepted."""
    by_schema = [f"{error.json_path}: {error.message}" for error in _schema(manifest["kind"]).iter_errors(manifest)]
    return by_schema or [*_by_rules(manifest)]


def _by_rules(manifest: dict[str, Any]) -> Iterator[str]:
    spec = manifest["spec"]
    if manifest["kind"] == "RayJob":
        yield from _job(spec)
    cluster = spec.get("rayClusterSpec", spec)
    yield from _cluster(cluster)
    for group, pod in pods(cluster).items():
        yield from (f"{group}: {reason}" for reason in _pod(pod))


def _job(spec: dict[str, Any]) -> Iterator[str]:
    if not spec.get("entrypoint"):
        yield "no entrypoint"
    if spec.get("suspend") and not spec.get("shutdownAfterJobFinishes"):
        yield "suspend needs shutdownAfterJobFinishes"
    if spec.get("ttlSecondsAfterFinished") and not spec.get("shutdownAfterJobFinishes"):
        yield "ttlSecondsAfterFinished needs shutdownAfterJobFinishes"
    if "rayClusterSpec" not in spec:
        yield "no rayClusterSpec"


def _cluster(cluster: dict[str, Any]) -> Iterator[str]:
    version = tuple(int(part) for part in cluster.get("rayVersion", "0").split(".")[:2])
    if cluster.get("authOptions", {}).get("mode") == "token" and version < (2, 52):
        yield "token authentication needs Ray 2.52"
    groups = cluster.get("workerGroupSpecs", [])
    if len({group["groupName"] for group in groups}) < len(groups):
        yield "two groups of one name"
    for group in [cluster["headGroupSpec"], *groups]:
        name, parameters = group.get("groupName", "head"), group.get("rayStartParams", {})
        if group.get("resources") and {"num-cpus", "num-gpus", "memory", "resources"} & set(parameters):
            yield f"{name}: resources given twice"
        if group.get("minReplicas", 0) > group.get("maxReplicas", 2**31):
            yield f"{name}: minReplicas > maxReplicas"
        if (
            cluster.get("enableInTreeAutoscaling")
            and group["template"]["spec"].get("restartPolicy", "Never") != "Never"
        ):
            yield f"{name}: autoscaler v2 needs restartPolicy Never"


def _pod(pod: dict[str, Any]) -> Iterator[str]:
    volumes = {volume["name"] for volume in pod.get("volumes", [])}
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                yield f"no volume {mount['name']}"
        limits, requests = (container.get("resources", {}).get(each, {}) for each in ("limits", "requests"))
        for name in {*limits, *requests}:
            if "/" in name and str(limits.get(name)) != str(requests.get(name)):
                yield f"{name}: limit and request differ"
