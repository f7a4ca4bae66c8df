"""Upload an experiment's local run files: of an offline search, or those that an online one could not send."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from u2pl_ray.config.errors import UserError
from u2pl_ray.tracking.client import Client
from u2pl_ray.tracking.reader import RunFile, read_run, run_files
from u2pl_ray.tracking.uploader import Uploader


@dataclass(frozen=True)
class SyncReport:
    """Result of `sync`. Everything is uploaded if `uploaded == runs` and `running == 0`."""

    runs: int
    """Runs that were to be uploaded."""
    uploaded: int
    """Runs of which the server confirms to have every row."""
    running: int
    """Runs skipped because their trial is still being trained."""
    notes: tuple[str, ...] = ()


def sync(
    directory: Path,
    project: str,
    entity: str | None,
    group: str,
    sweep: Mapping[str, Any] | None,
    *,
    running: bool = False,
    timeout: float = 600.0,
    progress: Callable[[int, int], None] = lambda uploaded, runs: None,
) -> SyncReport:
    """Upload the runs of an experiment that the server lacks, and check that they arrived.

    It can be called again: only rows that the server does not have are sent. Files known to be uploaded get the
    mark by which `wandb sync` skips them.

    Args:
        directory: The experiment's directory.
        project: W&B project.
        entity: W&B user or team; None: the account's default.
        group: The experiment's name.
        sweep: Its search space in the W&B sweep grammar; registered as a Sweep that the runs join, if it is not yet.
        running: Whether the search is running now; then its unfinished trials are skipped.
        timeout: Seconds after which the upload is given up.
        progress: Called with the number of runs uploaded so far and the number of all.

    Returns:
        What was done.

    Raises:
        UserError: there is nothing to upload, or no key.
    """
    notes: list[str] = []
    client = Client(directory, project, entity, group)
    histories = _histories(directory)
    if not histories:
        raise UserError(f"{directory / 'wandb'} holds no runs: the search ran with tracking.wandb=disabled")
    if not client.connect("online"):
        raise UserError("no W&B key was found: run `wandb login`, or set WANDB_API_KEY")
    if not running:
        for runs in histories:
            if not _whole(runs):
                _close_run(client, runs[-1])
        histories = _histories(directory)
    ready = [runs for runs in histories if _whole(runs)]
    paths = [runs[-1].path for runs in ready]
    uploader = Uploader(client.memory, project, entity, group, sweep, notes.append)
    uploader.start()
    for path in paths:
        uploader.follow(path, live=False)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and len(uploader.uploaded) < len(paths):
        progress(len(uploader.uploaded), len(paths))
        time.sleep(0.2)
    uploader.close(max(0.0, deadline - time.monotonic()))
    progress(len(uploader.uploaded), len(paths))
    for runs in ready:
        if str(runs[-1].path) in uploader.uploaded:
            for run in runs:
                run.path.with_name(run.path.name + ".synced").touch()
    return SyncReport(len(paths), len(uploader.uploaded), len(histories) - len(ready), tuple(dict.fromkeys(notes)))


def pending(directory: Path) -> list[RunFile]:
    """Return the newest file of every run that has not been uploaded whole; needs no account.

    Raises:
        UserError: there are no runs.
    """
    histories = _histories(directory)
    if not histories:
        raise UserError(f"{directory / 'wandb'} holds no runs: the search ran with tracking.wandb=disabled")
    newest = [runs[-1] for runs in histories]
    return [run for run in newest if not run.path.with_name(run.path.name + ".synced").exists()]


def _histories(directory: Path) -> list[list[RunFile]]:
    """Read the files of every run under an experiment's directory, each run's oldest first."""
    ids = {path.stem.removeprefix("run-") for path in directory.glob("wandb/offline-run-*/run-*.wandb")}
    histories = [[read_run(path) for path in run_files(directory, run_id)] for run_id in sorted(ids)]
    return [history for runs in histories if (history := [run for run in runs if run.run_id])]


def _whole(runs: list[RunFile]) -> bool:
    """Tell whether a run's newest file was finished and holds the rows of the older ones."""
    return runs[-1].exit_code is not None and runs[-1].last_step >= max(run.last_step for run in runs)


def _close_run(client: Client, last: RunFile) -> None:
    """Finish the run of a trial whose search was killed, in a new file with all its rows."""
    trial_id = last.run_id.removeprefix(f"{client.memory.token()}-")
    config = {name: value for name, value in last.config.items() if name != "_wandb"}
    run, _ = client.open(trial_id, last.name, config, last.tags)
    client.finish(trial_id, run, "INTERRUPTED", {})
    client.wait_written()
