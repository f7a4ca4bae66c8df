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
    # Python's own copy may be too old to build this project, and would hide the borrowed one.
    subprocess.run([folder / "bin" / "pip", "uninstall", "--quiet", "--yes", "setuptools"], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    # pip writes a package's programs only where it installs the package.
    ray = folder / "bin" / "ray"
    ray.write_text(f"#!{folder}/bin/python\nfrom ray.scripts.scripts import main\n\nmain()\n")
    ray.chmod(0o755)
    return folder / "bin"
