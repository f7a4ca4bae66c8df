"""The SkyPilot task against the schemas that SkyPilot itself checks a task with."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
import yaml

from tests.launch.manifests import LAUNCH
from tests.launch.skypilot_wheel import skypilot_wheel

TASK = LAUNCH / "skypilot/search.yaml"

PRINT_SCHEMAS = """
import json, sys, types
folder = sys.argv[1]
for name in ("sky", "sky.utils", "sky.skylet"):  # without what their __init__ files import
    sys.modules[name] = module = types.ModuleType(name)
    module.__path__ = [f"{folder}/{name.replace('.', '/')}"]
sys.modules["sky"].__version__, sys.modules["sky"].__commit__, sys.modules["sky"].__root_dir__ = "0", "", folder
sys.modules["sky.skylet.autostop_lib"] = module = types.ModuleType("autostop_lib")
module.AutostopWaitFor = types.SimpleNamespace(supported_modes=lambda: ["none"])
from sky.utils import schemas
schemas._task_config_schema = dict  # the task has no `config:`
print(json.dumps({"task": schemas.get_task_schema(), "resources": schemas._get_single_resources_schema()}))
"""


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """From the wheel of SkyPilot."""
    folder = tmp_path_factory.mktemp("skypilot")
    skypilot_wheel(folder).extractall(folder)
    printed = subprocess.run([sys.executable, "-c", PRINT_SCHEMAS, folder], capture_output=True, text=True, check=True)
    return dict(json.loads(printed.stdout))


def check(task: dict[str, Any], schemas: dict[str, Any]) -> None:
    jsonschema.validate(task, schemas["task"], jsonschema.Draft202012Validator)
    jsonschema.validate(task["resources"], schemas["resources"] | {"additionalProperties": False})
    recovery = schemas["resources"]["properties"]["job_recovery"]["anyOf"][1]
    jsonschema.validate(task["resources"]["job_recovery"], recovery | {"additionalProperties": False})


@pytest.fixture
def task() -> dict[str, Any]:
    return dict(yaml.safe_load(TASK.read_text()))


def test_skypilot_accepts_it(task: dict[str, Any], schemas: dict[str, Any]) -> None:
    check(task, schemas)
    assert task["resources"]["job_recovery"] == {"recover_on_exit_codes": [75]}
    assert task["resources"]["use_spot"] is True
    assert task["secrets"] == {"RAY_AUTH_TOKEN": None}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda task: task.update(runs="x"),
        lambda task: task.update(num_nodes="2"),
        lambda task: task["envs"].update(TRIALS=50),
        lambda task: task["resources"].update(accelerator="L4:1"),
        lambda task: task["resources"]["job_recovery"].update(recover_on_exit_codes=[750]),
        lambda task: task["resources"]["job_recovery"].update(recover_on_exit_code=[75]),
    ],
)
def test_skypilot_refuses_wrong_ones(
    task: dict[str, Any], schemas: dict[str, Any], wrong: Callable[[dict[str, Any]], object]
) -> None:
    changed = copy.deepcopy(task)
    wrong(changed)
    with pytest.raises(jsonschema.ValidationError):
        check(changed, schemas)


def test_skypilots_own_ray_is_left_alone(task: dict[str, Any]) -> None:
    lines = [line.partition("#")[0] for line in task["run"].splitlines()]
    run = "\n".join(lines)
    assert "ray stop" not in run
    assert "6380" not in run
    assert run.index("RAY_AUTH_MODE=token") < run.index("start_cluster")
