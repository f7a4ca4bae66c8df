"""Connect to Ray: to the cluster that RAY_ADDRESS names, or to one started on this machine.

An address is checked before `ray.init`, which would retry for minutes and end in a stack trace.
"""

import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from u2pl_ray.config.errors import LostError, UserError
from u2pl_ray.system.limits import memory_limit, usable_cpus

_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths in a configuration mean the directory of the command
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # see `execution.interrupts`
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # Tune's own snapshots are not used
    "TUNE_WARN_SLOW_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "1000000000",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}

_PATIENCE = 10.0
"""Seconds to wait for a Ray head to start."""
NODES = "U2PL_RAY_NODES"
"""Environment variable: how many nodes a cluster has when it is whole; it is waited for."""
_JOINING = 300.0
"""Seconds to wait for a cluster that is being started."""
_ANSWER = 5.0

_SOCKET = "ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""The longest of a session's sockets."""
_LONGEST = 107 if sys.platform != "darwin" else 103
_STORE_SHARE = 0.3
"""Of the memory, for objects: Ray's own share. Trainings pass little through it."""
_LEAST_STORE = 80 << 20

# An HTTP/2 client's first bytes, with empty settings; whoever speaks it (gRPC does) answers with a settings frame.
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_SETTINGS = 4


def connect() -> None:
    """Connect to the Ray cluster that RAY_ADDRESS names, or start one on this machine; quiet either way.

    Raises:
        UserError: the named cluster does not answer, or refuses this program (version of Ray or Python, token).
        LostError: it has fewer nodes than U2PL_RAY_NODES says.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        return
    with _kept_handler():
        _initialize(ray)


@contextmanager
def _kept_handler() -> Iterator[None]:
    """After it: a program's own handler of SIGTERM is in force again, in place of Ray's, which prints a stack trace."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if callable(before) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def _initialize(ray: Any) -> None:
    """Start or join Ray, see `connect`."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if (address := os.environ.get("RAY_ADDRESS") or "local") != "local":
        expected = _expected_nodes()
        check_address(address, _JOINING if expected else _PATIENCE)
        # Processes of a cluster that runs already do not inherit our environment.
        options["runtime_env"] = {"env_vars": {name: os.environ[name] for name in _ENVIRONMENT}}
        try:
            ray.init(**options)
        except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
            raise refusal(address, error) from error
        _await_nodes(expected)
    else:
        # Left to itself Ray would join whatever cluster was last started on this machine, or wait for it if it is gone.
        options |= {"address": "local", "include_dashboard": False}
        # A process per training that watches for nodes about to be taken away: not this one.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        check_temporary_folder()
        try:
            ray.init(**options, **_share())
        except OSError as error:
            raise UserError(
                f"Ray does not start on this machine ({_line(error)}); it writes to {_temporary_folder()} (set "
                "RAY_TMPDIR for another place) and to HOME (set RAY_AUTH_TOKEN_PATH for its token)"
            ) from error


def _expected_nodes() -> int:
    """Return how many nodes to wait for; 0: as many as there are."""
    text = os.environ.get(NODES, "")
    if text and not text.isdigit():
        raise UserError(f"{NODES}={text}: give the number of nodes that the cluster shall have")
    return int(text or 0)


def _await_nodes(expected: int) -> None:
    """Wait until the connected cluster has so many nodes.

    Raises:
        LostError: some did not join in time; they may be slow today.
    """
    import ray

    until = time.monotonic() + _JOINING
    while (joined := sum(node["Alive"] for node in ray.nodes())) < expected:
        if time.monotonic() > until:
            raise LostError(
                f"{NODES}={expected}: only {joined} nodes joined within {_JOINING:g} s; look at the output of "
                "`ray start` on the others, or give a smaller number"
            )
        time.sleep(0.5)


def check_temporary_folder() -> None:
    """Refuse a temporary folder whose name is too long for Ray's sockets, or that cannot be written.

    Raises:
        UserError: naming the environment variable that says which folder it is.
    """
    folder = _temporary_folder()
    variable = "RAY_TMPDIR" if "RAY_TMPDIR" in os.environ else "TMPDIR"
    length = len(os.path.join(folder, _SOCKET).encode())
    if length > _LONGEST:
        raise UserError(
            f"{variable}={folder}: too long by {length - _LONGEST} characters for Ray's sockets, whose paths may have "
            f"{_LONGEST}; set RAY_TMPDIR to a short folder such as /tmp"
        )
    above = next(parent for parent in (Path(folder), *Path(folder).parents) if parent.exists())
    if not os.access(above, os.W_OK):
        raise UserError(f"{variable}={folder}: cannot be written; set RAY_TMPDIR to a folder that can")


def _temporary_folder() -> str:
    return os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()


def asked_cpus() -> int:
    """Return how many CPUs a Ray of this machine takes: RAY_NUM_CPUS, else all that this process may use.

    Raises:
        UserError: RAY_NUM_CPUS is no number of CPUs.
    """
    text = os.environ.get("RAY_NUM_CPUS") or str(usable_cpus())
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"RAY_NUM_CPUS={text}: give a whole number of CPUs, or unset it to use all of this process")
    return int(text)


def _share() -> dict[str, Any]:
    """Return what a Ray of this machine alone may take: what this process may, not what the machine has."""
    share: dict[str, Any] = {"num_cpus": asked_cpus()}
    limit = memory_limit()
    if limit is not None and limit < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        share["_memory"] = int(limit * (1 - _STORE_SHARE))
        shared = Path("/dev/shm")
        room = shutil.disk_usage(shared).free if shared.exists() else limit
        share["object_store_memory"] = max(_LEAST_STORE, min(int(limit * _STORE_SHARE), int(room * 0.9)))
    return share


def check_address(address: str, patience: float = _PATIENCE) -> None:
    """Refuse an address at which no Ray head listens.

    Args:
        address: as in RAY_ADDRESS: host:port, or `auto`.
        patience: seconds to wait for a head that is being started.

    Raises:
        UserError: no head answers; it says what to give instead.
    """
    from ray._private.services import canonicalize_bootstrap_address_or_die

    if "://" in address:
        raise UserError(
            f"RAY_ADDRESS={address}: give the head as host:6379, and run the command on a node of the cluster (for "
            "example with `ray job submit`)"
        )
    try:
        host, _, port = canonicalize_bootstrap_address_or_die(address).rpartition(":")
        where = host.strip("[]"), int(port)
    except (ValueError, ConnectionError) as error:
        raise UserError(f"RAY_ADDRESS={address}: {_line(error)}; give the head as host:6379") from None
    until = time.monotonic() + patience
    while True:
        try:
            with socket.create_connection(where, timeout=_ANSWER) as connection:
                if _is_head(connection):
                    return
                why = "what listens there is no Ray head (its port is 6379 by default, 8265 is the dashboard's)"
        except OSError as error:
            why = str(error.strerror or error).lower()
        if time.monotonic() > until:
            raise UserError(
                f"RAY_ADDRESS={address}: cannot connect ({why}); start the cluster, or unset RAY_ADDRESS to search on "
                "this machine alone"
            )
        time.sleep(0.5)


def refusal(address: str, error: BaseException) -> UserError:
    """Convert an error of `ray.init` to a `UserError`: other version of Ray or Python, or a missing token.

    Args:
        address: of the cluster.
        error: raised by `ray.init`.
    """
    said = f"{error} {error.__cause__ or error.__context__ or ''}"
    if "token" in said.lower():
        why = "the cluster asks for another token, or for one: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"
    else:
        why = _line(error)
    return UserError(f"RAY_ADDRESS={address}: cannot connect ({why})")


def _line(error: BaseException) -> str:
    """Return the first line of an error, without its full stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].removesuffix(".")


def _is_head(connection: socket.socket) -> bool:
    if os.environ.get("RAY_USE_TLS") == "1":
        return True
    connection.sendall(_HELLO)
    answer = connection.recv(9)
    return len(answer) > 3 and answer[3] == _SETTINGS
