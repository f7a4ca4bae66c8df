"""Connect to Ray: to the cluster that RAY_ADDRESS names, or to one started on this machine.

An address is checked before `ray.init`, which would retry for minutes and end in a stack trace.
"""

import logging
import os
import socket
import time
from typing import Any

from u2pl_ray.config.errors import UserError

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
_ANSWER = 5.0

# An HTTP/2 client's first bytes, with empty settings; whoever speaks it (gRPC does) answers with a settings frame.
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_SETTINGS = 4


def connect() -> None:
    """Connect to the Ray cluster that RAY_ADDRESS names, or start one on this machine; quiet either way.

    Raises:
        UserError: the named cluster does not answer, or refuses this program (version of Ray or Python, token).
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if (address := os.environ.get("RAY_ADDRESS") or "local") != "local":
        check_address(address)
        # Processes of a cluster that runs already do not inherit our environment.
        options["runtime_env"] = {"env_vars": {name: os.environ[name] for name in _ENVIRONMENT}}
        try:
            ray.init(**options)
        except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
            raise refusal(address, error) from error
    else:
        # Left to itself Ray would join whatever cluster was last started on this machine, or wait for it if it is gone.
        options |= {"address": "local", "include_dashboard": False}
        # A process per training that watches for nodes about to be taken away: not this one.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        ray.init(**options)


def check_address(address: str) -> None:
    """Refuse an address at which no Ray head listens.

    Args:
        address: as in RAY_ADDRESS: host:port, or `auto`.

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
    until = time.monotonic() + _PATIENCE
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
