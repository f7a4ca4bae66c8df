"""The Kubernetes manifests: built by kustomize, checked as KubeRay does, and sized as its autoscaler reads them."""

import copy
import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.launch.kuberay_rules import refusals
from tests.launch.manifests import KUBERAY, kustomized, pods
from tests.search.s3 import s3_server
from u2pl_ray.config import overrides
from u2pl_ray.config.schema import Config
from u2pl_ray.search.cluster.capacity import TRIAL_MEMORY, check_growth, fit
from u2pl_ray.search.space.file import load_space
from u2pl_ray.search.storage.place import absolute
from u2pl_ray.train.launch import worker_resources

JOB = "RayJob/u2pl-search"
OVERLAYS = ("pvc", "s3")


@pytest.fixture(scope="module")
def built() -> dict[str, dict[str, Any]]:
    return {name: kustomized(KUBERAY / "overlays" / name) for name in (*OVERLAYS, "interactive")}


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest, built: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return built[request.param]


def config(overlay: dict[str, Any], folder: Path) -> Config:
    (folder / "config.yaml").write_text(overlay["ConfigMap/u2pl-config"]["data"]["config.yaml"])
    return overrides.load(str(folder / "config.yaml"))


def settings(overlay: dict[str, Any]) -> dict[str, str]:
    return dict(overlay["ConfigMap/u2pl-search"]["data"])


def test_kuberay_accepts_them(built: dict[str, dict[str, Any]]) -> None:
    for name in OVERLAYS:
        assert refusals(built[name][JOB]) == []
    assert JOB not in built["interactive"]
    assert refusals(built["interactive"]["RayCluster/u2pl"]) == []
    assert built["interactive"]["RayCluster/u2pl"]["spec"] == built["pvc"][JOB]["spec"]["rayClusterSpec"]


def gpu(spec: dict[str, Any]) -> Any:
    return spec["rayClusterSpec"]["workerGroupSpecs"][1]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda spec: spec.update(backofLimit=3), "backofLimit"),
        (lambda spec: gpu(spec).update(minReplicas="1"), "minReplicas"),
        (lambda spec: gpu(spec).update(minReplicas=9), "gpu: minReplicas > maxReplicas"),
        (lambda spec: spec.update(shutdownAfterJobFinishes=False, suspend=True), "suspend needs shutdown"),
        (lambda spec: spec["rayClusterSpec"]["headGroupSpec"]["rayStartParams"].update(memory=0), "0 is not of type"),
        (lambda spec: spec["rayClusterSpec"]["authOptions"].update(mode="tokn"), "'tokn' is not one of"),
        (lambda spec: spec["rayClusterSpec"].update(rayVersion="2.40.0"), "needs Ray 2.52"),
        (lambda spec: spec["rayClusterSpec"].pop("headGroupSpec"), "'headGroupSpec' is a required property"),
        (lambda spec: gpu(spec)["template"]["spec"].update(restartPolicy="Always"), "restartPolicy Never"),
        (lambda spec: gpu(spec)["template"]["spec"]["volumes"].pop(), "gpu: no volume shared"),
        (
            lambda spec: gpu(spec)["template"]["spec"]["containers"][0]["resources"]["limits"].pop("nvidia.com/gpu"),
            "nvidia.com/gpu: limit and request differ",
        ),
        (lambda spec: spec.pop("entrypoint"), "no entrypoint"),
    ],
)
def test_kuberay_refuses_wrong_ones(
    built: dict[str, dict[str, Any]], wrong: Callable[[dict[str, Any]], object], words: str
) -> None:
    manifest = copy.deepcopy(built["pvc"][JOB])
    wrong(manifest["spec"])
    assert any(words in reason for reason in refusals(manifest)), refusals(manifest)


def test_a_retry_goes_on(overlay: dict[str, Any], tmp_path: Path) -> None:
    """What the entrypoint calls, by a stand-in for the program that prints its arguments."""
    spec = overlay[JOB]["spec"]
    assert spec["backoffLimit"] > 0
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0
    assert spec["entrypoint"] == "bash /etc/u2pl/search.sh"  # nothing for a shell to expand
    script = tmp_path / "search.sh"
    script.write_text(overlay["ConfigMap/u2pl-config"]["data"]["search.sh"])
    (tmp_path / "u2pl-ray").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 75\n')
    (tmp_path / "u2pl-ray").chmod(0o755)
    environment = settings(overlay) | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    run = subprocess.run(["bash", script], env=environment, capture_output=True, text=True)
    assert run.returncode == 75, run.stderr
    called = run.stdout.split()
    assert called[:2] == ["search", "/etc/u2pl/config.yaml"]
    assert {"--resume-if-exists", "--autoscale"} <= set(called)
    given = dict(itertools.pairwise(called))
    assert (given["--name"], given["--trials"], given["--max-concurrent"]) == ("u2pl-search", "50", "8")
    assert load_space(Path(given["--space"])).parameters


def test_every_pod_has_what_the_search_needs(built: dict[str, dict[str, Any]]) -> None:
    for name in OVERLAYS:
        storage = absolute(settings(built[name])["U2PL_RAY_STORAGE"])
        for group, pod in pods(built[name][JOB]["spec"]["rayClusterSpec"]).items():
            container = pod["containers"][0]
            assert container["image"] == "registry.example.com/u2pl-ray:0.1.0"
            assert {"configMapRef": {"name": "u2pl-search"}} in container["envFrom"]
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            assert mounts == {"/etc/u2pl": "config", "/shared": "shared"}
            volumes = {volume["name"]: volume for volume in pod["volumes"]}
            assert f"ConfigMap/{volumes['config']['configMap']['name']}" in built[name]
            shared = volumes["shared"]
            assert shared.get("persistentVolumeClaim") == ({"claimName": "u2pl-shared"} if name == "pvc" else None)
            copies = [each["name"] for each in pod.get("initContainers", [])]
            assert copies == (["data"] if name == "s3" and group != "trials" else [])
        assert storage == {"pvc": "/shared/searches", "s3": "s3://my-bucket/searches"}[name]


@pytest.mark.timeout(60)
def test_data_are_copied_from_the_bucket(built: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """The init container's command, against a real S3 server; its folder is moved, as nothing is mounted here."""
    from pyarrow import fs

    (container,) = pods(built["s3"][JOB]["spec"]["rayClusterSpec"])["gpu"]["initContainers"]
    program, option, code = container["command"]
    assert (program, option) == ("python", "-c")
    assert settings(built["s3"])["DATA"] == "s3://my-bucket/data"
    with s3_server("my-bucket") as bucket:
        store, root = fs.FileSystem.from_uri(bucket)
        for name in ("JPEGImages/a.jpg", "splits/1_8/labeled.txt"):
            with store.open_output_stream(f"{root}/data/{name}") as stream:
                stream.write(name.encode())
        environment = os.environ | {"DATA": settings(built["s3"])["DATA"]}
        code = code.replace("/shared", str(tmp_path))
        subprocess.run([sys.executable, option, code], env=environment, check=True, timeout=50)
    assert (tmp_path / "data/JPEGImages/a.jpg").read_text() == "JPEGImages/a.jpg"
    assert (tmp_path / "data/splits/1_8/labeled.txt").exists()


def node_types(overlay: dict[str, Any]) -> dict[str, Any]:
    """What Ray's autoscaler makes of the manifest."""
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    cluster = {"metadata": {"name": "a", "namespace": "b"}, "spec": overlay[JOB]["spec"]["rayClusterSpec"]}
    return dict(_derive_autoscaling_config_from_ray_cr(cluster))


def test_nothing_runs_on_the_head_and_trials_stay_off_spot_machines(overlay: dict[str, Any]) -> None:
    scaling = node_types(overlay)
    types = scaling["available_node_types"]
    assert types[scaling["head_node_type"]]["resources"] == {"CPU": 0, "GPU": 0, "memory": 0}
    assert types["trials"]["resources"] == {"CPU": 0, "memory": 6 * TRIAL_MEMORY}
    assert types["gpu"]["resources"] == {"CPU": 8, "GPU": 1, "memory": 0}
    tolerated = [each["key"] for each in pods(overlay[JOB]["spec"]["rayClusterSpec"])["gpu"]["tolerations"]]
    assert "cloud.google.com/gke-spot" in tolerated
    for group in ("trials", "head"):
        assert "tolerations" not in pods(overlay[JOB]["spec"]["rayClusterSpec"])[group]


def test_the_autoscaler_brings_what_the_search_asks_for(overlay: dict[str, Any], tmp_path: Path) -> None:
    """Ray's own scheduler of nodes, given the demands of a search of as many trials at once as configured."""
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
    from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
    from ray.autoscaler.v2.utils import ResourceRequestUtil
    from ray.core.generated.autoscaler_pb2 import GangResourceRequest

    class EventLogger:
        def log_cluster_scheduling_update(self, *arguments: Any, **more: Any) -> None:
            pass

    asked = config(overlay, tmp_path)
    concurrent = int(settings(overlay)["CONCURRENT"])
    check_growth(asked, concurrent)
    worker = worker_resources(asked, gpu=True)
    assert fit(asked, [node_types(overlay)["available_node_types"]["gpu"]["resources"]], concurrent, True).gpu
    scaling = AutoscalingConfig(node_types(overlay), skip_content_hash=True)
    demands = []
    for bundle in [{"memory": float(TRIAL_MEMORY)}, worker] * concurrent:
        gang = GangResourceRequest()
        gang.requests.append(ResourceRequestUtil.make(bundle))
        demands.append(gang)
    reply = ResourceDemandScheduler(EventLogger()).schedule(
        SchedulingRequest(
            node_type_configs=scaling.get_node_type_configs(),
            max_num_nodes=scaling.get_max_num_nodes(),
            disable_launch_config_check=True,
            gang_resource_requests=demands,
        )
    )
    launched = {request.instance_type: request.count for request in reply.to_launch}
    assert reply.infeasible_gang_resource_requests == []
    assert launched["gpu"] == concurrent
    assert launched["trials"] == 2  # six trials a pod


def test_kueue_is_an_option(tmp_path: Path, built: dict[str, dict[str, Any]]) -> None:
    job = built["pvc"][JOB]
    assert "labels" not in job["metadata"]
    (tmp_path / "kustomization.yaml").write_text(
        f"resources: [{os.path.relpath(KUBERAY / 'overlays/pvc', tmp_path)}]\n"
        f"components: [{os.path.relpath(KUBERAY / 'components/kueue', tmp_path)}]\n"
    )
    queued = kustomized(tmp_path)[JOB]
    assert refusals(queued) == []
    assert queued["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "user-queue"}
    assert (queued["spec"]["suspend"], job["spec"]["suspend"]) == (True, False)
    assert queued["spec"]["rayClusterSpec"] == job["spec"]["rayClusterSpec"]
