"""The cluster launcher's files, by Ray's own validation and by the clouds' own descriptions of a machine."""

import copy
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.launch.manifests import LAUNCH

CLOUD = LAUNCH / "cloud"
CLOUDS = ("aws", "gcp")


def load(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((CLOUD / f"{name}.yaml").read_text()))


def prepared(cluster: dict[str, Any]) -> dict[str, Any]:
    """What `ray up` makes of a file before it calls the cloud."""
    import ray.autoscaler
    from ray.autoscaler._private.util import prepare_config, validate_config

    schema = Path(ray.autoscaler.__file__).parent / "ray-schema.json"
    jsonschema.validate(cluster, json.loads(schema.read_text()))
    full = prepare_config(copy.deepcopy(cluster))
    validate_config(full)
    return dict(full)


def refusals(cluster: dict[str, Any]) -> list[str]:
    """Why the cloud would not start the machines of a file."""
    check = {"aws": _aws, "gcp": _gcp}[cluster["provider"]["type"]]
    return [
        f"{name}: {reason}"
        for name, kind in cluster["available_node_types"].items()
        for reason in check(kind["node_config"])
    ]


def _aws(machine: dict[str, Any]) -> Iterator[str]:
    """By botocore's model of RunInstances."""
    import botocore.session
    from botocore.validate import ParamValidator

    model = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    report = ParamValidator().validate({**machine, "MinCount": 1, "MaxCount": 1}, model)
    if report.has_errors():
        yield report.generate_report()
    yield from (f"{name}: unknown" for name in set(machine) - set(model.members))
    if machine["InstanceType"] not in model.members["InstanceType"].enum:
        yield f"{machine['InstanceType']}: no such machine"


def _gcp(machine: dict[str, Any]) -> Iterator[str]:
    """By the description of Compute Engine's API that Google's client brings."""
    discovery = pytest.importorskip("googleapiclient", reason="google-api-python-client is not installed")
    document = Path(discovery.__file__).parent / "discovery_cache/documents/compute.v1.json"
    schemas = json.loads(document.read_text())["schemas"]

    def walk(value: Any, schema: dict[str, Any], path: str) -> Iterator[str]:
        schema = schemas[schema["$ref"]] if "$ref" in schema else schema
        if isinstance(value, dict) and "properties" in schema:
            for name, inner in value.items():
                if name not in schema["properties"]:
                    yield f"{path}{name}: unknown"
                else:
                    yield from walk(inner, schema["properties"][name], f"{path}{name}.")
        elif isinstance(value, list) and schema.get("type") == "array":
            for inner in value:
                yield from walk(inner, schema["items"], path)
        elif isinstance(value, dict | list):
            yield f"{path} {schema.get('type')} expected"
        elif "enum" in schema and value not in schema["enum"]:
            yield f"{path} {value} is none of {schema['enum']}"

    yield from walk(machine, {"$ref": "Instance"}, "")


@pytest.mark.parametrize("name", CLOUDS)
def test_ray_and_the_cloud_accept_them(name: str) -> None:
    full = prepared(load(name))
    assert refusals(full) == []
    assert full["head_node_type"] == "head"
    assert full["idle_timeout_minutes"] == 10
    gpu, head = (full["available_node_types"][each] for each in ("gpu", "head"))
    assert (gpu["min_workers"], gpu["max_workers"]) == (0, full["max_workers"])
    assert gpu["resources"] == {"CPU": 8, "GPU": 1, "memory": 0}
    assert head["resources"] == {"CPU": 0}
    spot = (
        ("InstanceMarketOptions", {"MarketType": "spot"})
        if name == "aws"
        else ("scheduling", {"provisioningModel": "SPOT"})
    )
    assert gpu["node_config"][spot[0]].items() >= spot[1].items()
    assert spot[0] not in head["node_config"]


def test_ray_accepts_machines_of_ones_own() -> None:
    full = prepared(load("onprem"))
    (kind,) = full["available_node_types"].values()
    assert kind["min_workers"] == kind["max_workers"] == 2


def node(cluster: dict[str, Any], name: str = "gpu") -> dict[str, Any]:
    return dict(cluster["available_node_types"][name])


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("aws", lambda c: c.update(max_worker=3)),
        ("aws", lambda c: c.update(max_workers="three")),
        ("aws", lambda c: c.update(head_node_type="none")),
        ("aws", lambda c: c["available_node_types"]["gpu"]["resources"].update(GPU="one")),
        ("aws", lambda c: c["available_node_types"]["gpu"].update(min_worker=1)),
        ("onprem", lambda c: c["provider"].update(worker_ips="192.168.1.11")),
    ],
)
def test_ray_refuses_wrong_ones(name: str, wrong: Callable[[dict[str, Any]], object]) -> None:
    cluster = load(name)
    wrong(cluster)
    with pytest.raises((jsonschema.ValidationError, ValueError, AssertionError)):
        prepared(cluster)


@pytest.mark.parametrize(
    ("name", "wrong", "words"),
    [
        ("aws", {"InstanceTyp": "g5.2xlarge"}, "InstanceTyp"),
        ("aws", {"InstanceType": "g5.3xlarge"}, "g5.3xlarge"),
        ("aws", {"BlockDeviceMappings": {"DeviceName": "/dev/sda1"}}, "BlockDeviceMappings"),
        ("aws", {"InstanceMarketOptions": {"MarketTyp": "spot"}}, "MarketTyp"),
        ("gcp", {"machinetype": "g2-standard-8"}, "machinetype: unknown"),
        ("gcp", {"scheduling": {"provisioningModel": "CHEAP"}}, "CHEAP is none of"),
        ("gcp", {"scheduling": [{"provisioningModel": "SPOT"}]}, "object expected"),
    ],
)
def test_the_cloud_refuses_wrong_machines(name: str, wrong: dict[str, Any], words: str) -> None:
    cluster = load(name)
    cluster["available_node_types"]["gpu"]["node_config"].update(wrong)
    assert any(words in reason for reason in refusals(cluster)), refusals(cluster)


@pytest.mark.parametrize("name", [*CLOUDS, "onprem"])
def test_all_machines_ask_for_the_token(name: str) -> None:
    """And the dashboard listens on the head itself only."""
    cluster = load(name)
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    starts = [*cluster["head_start_ray_commands"], *cluster["worker_start_ray_commands"]]
    for command in starts:
        assert ("ray start" not in command) or ("RAY_AUTH_MODE=token" in command)
    assert "--dashboard-host=127.0.0.1" in cluster["head_start_ray_commands"][-1]


@pytest.mark.parametrize("name", [*CLOUDS, "onprem"])
def test_every_command_is_whole(name: str) -> None:
    """YAML ends a plain line of text at ` #`: what is left must still be a command."""
    cluster = load(name)
    for step in ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands"):
        for command in cluster[step]:
            assert subprocess.run(["bash", "-n", "-c", command], capture_output=True).returncode == 0, command


@pytest.mark.parametrize("name", [*CLOUDS, "onprem"])
def test_what_is_not_copied_is_not_of_the_package(name: str) -> None:
    """Patterns of rsync: one without a leading slash holds in every folder, as `data` did in `u2pl_ray/data`."""
    package = {path.name for path in (LAUNCH.parent / "u2pl_ray").rglob("*") if path.is_dir()}
    for pattern in load(name)["rsync_exclude"]:
        assert pattern.startswith("/") or pattern not in package
