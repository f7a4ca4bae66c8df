"""A real PostgreSQL server on a unix socket, from Debian's package."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "not-to-be-stored"


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """URL of an empty database; its password is in PGPASSWORD."""
    found = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or ([Path(found).parent] if found else [])
    if not folders:
        pytest.skip("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
    root = os.geteuid() == 0  # the server refuses to run as root
    as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if root else []
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # a socket's path is short
    (folder / "password").write_text(PASSWORD)
    if root:
        for path in (folder, folder / "password"):
            shutil.chown(path, "postgres", "postgres")
    make: list[Any] = [folders[-1] / "initdb", "-D", folder / "data", "-U", "tester", "-A", "scram-sha-256"]
    make.append("--no-sync")
    quiet: dict[str, Any] = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*as_user, *make, f"--pwfile={folder / 'password'}"], check=True, **quiet)
    serve: list[Any] = [folders[-1] / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses=", "-F"]
    server = subprocess.Popen([*as_user, *serve], **quiet)
    before = os.environ.get("PGPASSWORD")
    os.environ["PGPASSWORD"] = PASSWORD
    try:
        ready: list[Any] = [folders[-1] / "pg_isready", "-h", folder, "-q"]
        until = time.monotonic() + 30
        while subprocess.run(ready).returncode and time.monotonic() < until:
            time.sleep(0.1)
        yield f"postgresql://tester@/postgres?host={folder}"
    finally:
        os.environ.pop("PGPASSWORD")
        if before is not None:
            os.environ["PGPASSWORD"] = before
        server.send_signal(signal.SIGINT)  # without waiting for clients
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)
