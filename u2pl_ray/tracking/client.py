"""All dealings with the W&B client: its environment, its mode, opening runs. Used from the sink's threads only."""

import json
import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .payload import row_again
from .reader import read_run, run_files

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
"""Variables that describe one run. A search has many, and says all of this itself."""

OFFLINE_NOTE = (
    "the server did not accept a run ({}): tracking goes on offline, `u2pl-ray wandb sync` uploads it"
)


class Client:
    """One experiment's view of the W&B client. `open_online` may wait for the server; nothing else does."""

    def __init__(
        self,
        directory: Path,
        project: str,
        entity: str | None,
        group: str,
        mode: str,
        sweep: dict[str, Any] | None,
        init_timeout: float,
        finish_timeout: float,
        note: Callable[[str], None],
    ) -> None:
        self._directory = directory
        self._project = project
        self._entity = entity
        self._group = group
        self._mode = mode
        self._sweep = sweep
        self._init_timeout = init_timeout
        self._finish_timeout = finish_timeout
        self._note = note
        self._token = ""
        self._owns_service = False
        self._seen: set[str] = set()
        self._open_lock = threading.Lock()
        self.online = False
        """Whether the next run is opened online."""

    @property
    def mode_used(self) -> str:
        """online, offline, mixed, or disabled (no run was opened)."""
        return "mixed" if len(self._seen) > 1 else next(iter(self._seen), "disabled")

    def connect(self) -> None:
        """Load the client, settle the mode, and get the experiment's token. No network."""
        for name in [n for n, value in os.environ.items() if n.startswith("WANDB_") and not value]:
            del os.environ[name]  # an empty variable makes the client fail
        for name in PER_RUN_VARIABLES:
            os.environ.pop(name, None)
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb
        from wandb.sdk import wandb_setup

        mode = self._mode
        if mode == "auto":
            mode = {"dryrun": "offline", "run": "online", "shared": "online"}.get(
                (given := os.environ.get("WANDB_MODE", "")), given
            )
        self._owns_service = wandb_setup.singleton()._connection is None
        if mode not in ("offline", "disabled"):
            wandb.setup(wandb.Settings(mode="online", silent=True))
            has_key = wandb.login(prompt=False, verify=False)
            if mode == "online" and not has_key:
                self._note("no key found: tracking is offline")
            mode = "online" if has_key else "offline"
        self.online = mode == "online"
        self._token = self._experiment_token()

    def _experiment_token(self) -> str:
        """A random prefix of this experiment's run ids, so that experiments of one name never share a run."""
        path = self._directory / "wandb" / "experiment.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".part")
            partial.write_text(json.dumps({"token": secrets.token_hex(4)}))
            partial.replace(path)
        return str(json.loads(path.read_text())["token"])

    def id_of(self, trial_id: str) -> str:
        """The id of a trial's run on the server."""
        return f"{self._token}-{trial_id}"

    def logged_rows(self, trial_id: str) -> list[dict[str, Any]]:
        """Rows of the trial's earlier sessions, by step, each with the folder of its pictures under `_files`."""
        rows: dict[int, dict[str, Any]] = {}
        for path in run_files(self._directory, self.id_of(trial_id)):
            for row in read_run(path).rows:
                rows.setdefault(int(row["_step"]), {**row, "_files": str(path.parent / "files")})
        return [rows[step] for step in sorted(rows)]

    def row_again(self, row: dict[str, Any]) -> dict[str, Any]:
        """A logged row, to be logged again elsewhere."""
        return row_again(row, Path(row["_files"]))

    def open_online(self, trial_id: str, name: str, config: dict[str, Any], tags: list[str]) -> Any:
        """The trial's run on the server; None if the server does not take it. From then on all runs are offline."""
        if not self.online:
            return None
        try:
            return self._open("online", trial_id, name, config, tags)
        except Exception as error:
            self.online = False
            self._note(OFFLINE_NOTE.format(type(error).__name__))
            return None

    def open_offline(self, trial_id: str, name: str, config: dict[str, Any], tags: list[str]) -> Any:
        """The trial's run in local files."""
        return self._open("offline", trial_id, name, config, tags)

    def _open(self, mode: Any, trial_id: str, name: str, config: dict[str, Any], tags: list[str]) -> Any:
        import wandb

        settings = wandb.Settings(
            mode=mode,
            run_id=self.id_of(trial_id),
            run_name=name,
            run_group=self._group,
            run_tags=tuple(tags),
            project=self._project,
            entity=self._entity,
            root_dir=str(self._directory),
            use_dot_wandb=False,
            symlink=False,
            resume="allow",
            reinit="create_new",
            silent=True,
            console="off",
            host="",
            init_timeout=self._init_timeout,
            finish_timeout=self._finish_timeout,
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
        self._seen.add(mode)
        return run

    def kill(self) -> None:
        """End the client's background service, so that neither a thread nor the interpreter's exit waits for it."""
        if not self._owns_service:
            return
        try:
            from wandb.sdk import wandb_setup

            connection = wandb_setup.singleton()._connection
            process = connection._proc._process if connection and connection._proc else None
            if process is not None:
                process.kill()
        except Exception as error:
            self._note(f"the client's service was left running ({type(error).__name__})")
