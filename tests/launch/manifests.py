"""Read what lies in launch/, and build the Kubernetes overlays with kustomize, as a user does."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

LAUNCH = Path(__file__).parents[2] / "launch"
KUBERAY = LAUNCH / "kuberay"


def kustomized(folder: Path, *options: str) -> dict[str, Any]:
    """Return the objects that kustomize makes of a folder, by kind and name.

    Args:
        folder: with a kustomization.yaml.
        options: of `kubectl kustomize`.
    """
    builder = ["kustomize", "build"] if shutil.which("kustomize") else ["kubectl", "kustomize"]
    if shutil.which(builder[0]) is None:
        pytest.skip("neither kustomize nor kubectl is installed")
    run = subprocess.run([*builder, str(folder), *options], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    objects = list(yaml.safe_load_all(run.stdout))
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in objects}


def pods(cluster: dict[str, Any]) -> dict[str, Any]:
    """Return the pod specifications of a RayCluster's specification, by group; the head's as `head`."""
    groups = {group["groupName"]: group for group in cluster.get("workerGroupSpecs", [])}
    groups["head"] = cluster["headGroupSpec"]
    return {name: group["template"]["spec"] for name, group in groups.items()}
