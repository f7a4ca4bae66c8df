"""Puts search_spaces/, which lies beside the package so that it is found and edited, into the installed package."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithSpaces(build_py):
    """Copies the search spaces into the built package."""

    def run(self) -> None:
        """Build, then copy."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "u2pl_ray" / "search_spaces"
            shutil.copytree("search_spaces", target, dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithSpaces})
