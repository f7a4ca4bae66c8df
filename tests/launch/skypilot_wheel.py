"""The wheel of SkyPilot, which is downloaded but not installed: it needs much that nothing else here does."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


def skypilot_wheel(folder: Path) -> zipfile.ZipFile:
    """Download it into `folder` and open it; skip the test where that is not possible."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    if subprocess.run([*command, "skypilot>=0.14,<0.15"], capture_output=True, timeout=120).returncode:
        pytest.skip("SkyPilot's wheel cannot be downloaded")
    (wheel,) = folder.glob("skypilot-*.whl")
    return zipfile.ZipFile(wheel)
