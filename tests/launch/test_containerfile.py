"""The image's build steps, as far as they go without a container: its own Python, in a folder of its own."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.launch.environment import borrowed_packages
from tests.launch.manifests import KUBERAY

ROOT = Path(__file__).parents[2]
LINES = (KUBERAY / "Containerfile").read_text().splitlines()
ELSEWHERE = ("apt-get", "useradd")
"""What only a container's root can do; not tried."""


@pytest.mark.slow
def test_the_image_builds_as_far_as_it_can_be_tried(tmp_path: Path) -> None:
    """COPY and RUN in order; packages that this environment has are not downloaded again."""
    programs = borrowed_packages(tmp_path / "python")
    work = tmp_path / "opt"
    work.mkdir()
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PIP_NO_BUILD_ISOLATION": "false",
        "PIP_NO_DEPS": "1",
        "PIP_NO_INDEX": "1",
    }
    tried = []
    for line in LINES:
        step, _, rest = line.partition(" ")
        if step == "COPY":
            *sources, target = rest.split()
            for source in sources:
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, work / target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / source, work / target)
        elif step == "RUN" and not rest.startswith(ELSEWHERE):
            run = subprocess.run(
                rest, shell=True, cwd=work, env=environment, capture_output=True, text=True, timeout=200
            )
            assert run.returncode == 0, run.stdout + run.stderr
            tried.append(rest)
    assert [line.split()[0] for line in tried] == ["pip", "u2pl-ray"]
    where = "import u2pl_ray; print(u2pl_ray.__file__)"
    found = subprocess.run(["python", "-c", where], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert found.stdout.startswith(str(tmp_path / "python"))


def test_the_image_is_what_the_manifests_need() -> None:
    text = "\n".join(LINES)
    assert "wget" in text  # KubeRay's probes
    assert re.search(r"\.\[[a-z,]*\bcluster\b", text)  # `ray job submit`
    assert "USER 1000" in text  # the pods' runAsUser
    assert "pip install torch" not in text
