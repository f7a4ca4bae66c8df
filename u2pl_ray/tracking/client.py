"""The W&B client in the process of the search: always in offline mode, so that no server can delay the search.

Each session of a run writes one file with the run's whole history: a run that continues first logs again
the rows of its earlier files. So only the newest file of a run needs to be uploaded.
"""

import contextlib
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from u2pl_ray.config.errors import UserError
from u2pl_ray.system.atomic import write_whole
from u2pl_ray.tracking.payload import class_names, row_again
from u2pl_ray.tracking.reader import read_run, run_files

PER_RUN_VARIABLES = (
    "WANDB_RUN_ID",
    "WANDB_NAME",
    "WANDB_NOTES",
    "WANDB_RESUME",
    "WANDB_RUN_GROUP",
    "WANDB_JOB_TYPE",
    "WANDB_TAGS",
    "WANDB_SWEEP_ID",
    "WANDB_SWEEP_PARAM_PATH",
    "WANDB_SERVICE",
)
"""Variables that describe one run or one process. A search has many runs and sets these values for each itself."""

FAILED_STATES = ("FAILED", "INFEASIBLE", "INTERRUPTED")
"""Ends of a trial with which W&B shows the run as failed (INTERRUPTED: as preempted)."""

MANY = 100
"""Number of finished runs after which the client waits until their files are complete."""


def clean_environment(environment: "os._Environ[str] | dict[str, str]") -> None:
    """Remove empty WANDB_* variables (the client fails on them) and those that describe a single run."""
    for name in [name for name, value in environment.items() if name.startswith("WANDB_") and not value]:
        del environment[name]
    for name in PER_RUN_VARIABLES:
        environment.pop(name, None)
    environment.setdefault("WANDB_ERROR_REPORTING", "false")  # the client's own telemetry


class ExperimentFile:
    """Ids of an experiment in W&B (`<experiment>/wandb/experiment.json`): run prefix, sweep, view and report."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "wandb" / "experiment.json"

    def read(self) -> dict[str, Any]:
        """Return the file's content; an empty dict if there is no file yet or it is damaged."""
        try:
            return dict(json.loads(self.path.read_text()))
        except (OSError, ValueError):
            return {}

    def update(self, **values: Any) -> None:
        """Add or replace values."""
        write_whole(self.path, json.dumps({**self.read(), **values}))

    def token(self) -> str:
        """Return the random prefix of this experiment's run ids: experiments of one name must not share runs."""
        if "token" not in self.read():
            self.update(token=secrets.token_hex(4))
        return str(self.read()["token"])

    def run_id(self, trial_id: str) -> str:
        """Return the id of a trial's run on the server."""
        return f"{self.token()}-{trial_id}"


class Client:
    """Opens the runs of one experiment as local files."""

    def __init__(self, directory: Path, project: str, entity: str | None, group: str) -> None:
        self.directory = directory
        self._project = project
        self._entity = entity
        self._group = group
        self._owns_service = False
        self._unsettled: dict[str, Path] = {}
        self.memory = ExperimentFile(directory)

    def connect(self, mode: str) -> bool:
        """Load the client and settle the mode. No network.

        Args:
            mode: online, offline, or auto: online unless the client's settings say otherwise (`wandb offline`).

        Returns:
            Whether the session is online: wanted, and with a key.

        Raises:
            UserError: the client refuses the key or another setting of its environment. Its own words may hold the key.
        """
        from wandb.errors import AuthenticationError

        try:
            return self._connect(mode)
        except AuthenticationError:
            raise UserError(
                "WANDB_API_KEY: is no key of W&B; copy it again, or remove it and run `wandb login`"
            ) from None
        except ValueError:  # of pydantic, over the settings from the environment
            raise UserError("WANDB_MODE or another WANDB_ variable: W&B refuses its value; remove it") from None

    def _connect(self, mode: str) -> bool:
        clean_environment(os.environ)
        import wandb
        from wandb.sdk import wandb_setup

        self.memory.token()
        self._owns_service = wandb_setup.singleton()._connection is None
        session = wandb.setup(wandb.Settings(silent=True))
        if mode == "online":
            session = wandb.setup(wandb.Settings(mode="online"))
        os.environ.pop("WANDB_SERVICE", None)  # no process started from here may use this one's service
        if mode == "offline" or session.settings.mode != "online":
            return False
        return bool(wandb.login(prompt=False, verify=False))

    def _logged_rows(self, trial_id: str) -> list[dict[str, Any]]:
        """Return the rows of the trial's earlier sessions by step; `_files` is the folder of a row's images."""
        rows: dict[int, dict[str, Any]] = {}
        for path in run_files(self.directory, self.memory.run_id(trial_id)):
            for row in read_run(path).rows:
                rows.setdefault(int(row["_step"]), {**row, "_files": path.parent / "files"})
        return [rows[step] for step in sorted(rows)]

    def open(
        self, trial_id: str, name: str, config: dict[str, Any], tags: Sequence[str]
    ) -> tuple[Any, list[dict[str, Any]]]:
        """Open a new session of the trial's run.

        Args:
            trial_id: The trial's id in the experiment.
            name: Display name of the run.
            config: The trial's whole configuration, nested.
            tags: W&B tags.

        Returns:
            The client's run, and the rows of earlier sessions, by step; the run has them already.
        """
        import wandb

        if trial_id in self._unsettled:
            self.wait_written()
        rows = self._logged_rows(trial_id)

        settings = wandb.Settings(
            mode="offline",
            run_id=self.memory.run_id(trial_id),
            run_name=name,
            run_group=self._group,
            run_tags=tuple(tags),
            project=self._project,
            entity=self._entity,
            root_dir=str(self.directory),
            use_dot_wandb=False,
            symlink=False,
            reinit="create_new",
            silent=True,
            console="off",
            host="",
            init_timeout=20.0,
            finish_timeout=20.0,
            x_transaction_log_flush_interval=0.5,
            x_disable_stats=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
            disable_git=True,
            disable_code=True,
            disable_job_creation=True,
            save_code=False,
        )
        run = wandb.init(settings=settings, config=config)
        run.define_metric("training_iteration", hidden=True)
        run.define_metric("*", step_metric="training_iteration")
        classes = class_names(config)
        for row in rows:
            run.log(row_again(row, row["_files"], classes), step=int(row["_step"]), commit=True)
        return run, rows

    def finish(self, trial_id: str, run: Any, state: str, summary: Mapping[str, Any]) -> None:
        """End a run. The client completes its file shortly afterwards; see `wait_written`.

        Args:
            trial_id: As for `open`.
            run: From `open`.
            state: How the trial ended, or INTERRUPTED.
            summary: Further plain values for the run's summary.
        """
        run.summary.update({**summary, "trial/state": state})
        if state == "INTERRUPTED":
            run.mark_preempting()
        run.finish(exit_code=int(state in FAILED_STATES))
        self._unsettled[trial_id] = Path(run.settings.sync_file)
        if len(self._unsettled) > MANY:
            self.wait_written()

    def wait_written(self, timeout: float = 5.0) -> None:
        """Wait at most `timeout` seconds until the files of finished runs are complete."""
        deadline = time.monotonic() + timeout
        for path in self._unsettled.values():
            while time.monotonic() < deadline and read_run(path).exit_code is None:
                time.sleep(0.02)
        self._unsettled.clear()

    def kill(self, note: Callable[[str], None]) -> None:
        """End the client's background service; otherwise the interpreter would wait for it at exit."""
        if not self._owns_service:
            return
        try:
            from wandb.sdk import wandb_setup
            from wandb.sdk.lib.service import service_token

            connection = wandb_setup.singleton()._connection
            if connection is not None and connection._proc is not None:
                if connection._cleanup:
                    connection._cleanup()  # its exit hook would talk to the dead service
                connection._proc._process.kill()
                with contextlib.suppress(Exception):
                    service_token.clear_service_in_env()
        except Exception as error:
            note(f"the client's service was left running ({type(error).__name__})")
