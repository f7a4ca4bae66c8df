"""A new virtual environment that sees the packages of this one, so that an installation has nothing to download."""

import site
import subprocess
import sys
from pathlib import Path


def borrowed_packages(folder: Path) -> Path:
    """Make the environment; return the folder of its programs.

    Args:
        folder: of the new environment.
    """
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return folder / "bin"
