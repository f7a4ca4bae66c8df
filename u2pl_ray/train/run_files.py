"""A Ray Train run's files: has it continue from the newest checkpoint that is whole, whatever a kill left behind.

Ray Train keeps a list of a run's checkpoints in a file that it overwrites in place, and trusts it: if a kill cuts the
file, or a listed checkpoint is gone, the run fails for ever; a damaged checkpoint goes to the workers as it is; one
that was stored but not listed yet is forgotten; and one that was struck off the list but not deleted yet stays for
ever. Seen with Ray 2.60. So before a run starts, its checkpoints are looked at, and the list is written anew where it
is wrong; Ray Train then deletes those that are more than it keeps.
"""

import contextlib
import hashlib
import json
from typing import Any

from u2pl_ray.train.checkpoint import CHECKSUM, FILE, is_directory_name

_LIST = "checkpoint_manager_snapshot.json"
_BLOCK = 1 << 20


def mend(run: str) -> list[str]:
    """Check the checkpoints of a Ray Train run, and its list of them; lines for people about what was not whole.

    Args:
        run: the run's folder (absolute path or URI); that there is none is fine.
    """
    from pyarrow.fs import FileSelector, FileSystem, FileType

    filesystem, root = FileSystem.from_uri(run)
    entries = filesystem.get_file_info(FileSelector(root, allow_not_found=True))
    folders = sorted(entry.base_name for entry in entries if entry.type == FileType.Directory)
    judged = {name: _objection(filesystem, f"{root}/{name}") for name in folders if is_directory_name(name)}
    good = [name for name, objection in judged.items() if not objection]
    listed = _listed(filesystem, f"{root}/{_LIST}")
    notes = [f"{run}/{name}: {objection}" for name, objection in judged.items() if objection and name in (listed or ())]
    notes += [f"{run}/{name}: is gone" for name in listed or () if name not in judged]
    broken = listed is None and any(entry.path.endswith(_LIST) for entry in entries)
    if broken:
        notes.append(f"{run}/{_LIST}: damaged; written anew")
    if broken or notes or set(good) != set(listed or []) or good[-1:] != (listed or [])[-1:]:
        with filesystem.open_output_stream(f"{root}/{_LIST}.partial") as stream:
            stream.write(_snapshot(good).encode())
        filesystem.move(f"{root}/{_LIST}.partial", f"{root}/{_LIST}")
    for name, objection in judged.items():
        if objection and name < max(good, default="") and name not in (listed or ()):
            _clear(filesystem, f"{root}/{name}")
    if notes:
        notes.append(f"{run}: continues from {good[-1] if good else 'the beginning, as no checkpoint is whole'}")
    return notes


def newest(run: str) -> str | None:
    """Name of a run's newest checkpoint, None if it has none."""
    from pyarrow.fs import FileSelector, FileSystem

    filesystem, root = FileSystem.from_uri(run)
    files = filesystem.get_file_info(FileSelector(root, allow_not_found=True, recursive=True))
    names = {file.path[len(root) :].strip("/").partition("/")[0] for file in files if file.is_file}
    return max((name for name in names if is_directory_name(name)), default=None)


def delete(run: str) -> None:
    """Delete a run, if there is one."""
    from pyarrow.fs import FileSystem, FileType

    filesystem, root = FileSystem.from_uri(run)
    if filesystem.get_file_info(root).type == FileType.Directory:
        filesystem.delete_dir(root)


def _objection(filesystem: Any, folder: str) -> str:
    """Why a checkpoint cannot be used, or an empty string. Other trainers' checkpoints are taken to be whole."""
    from pyarrow.fs import FileSelector

    files = {entry.base_name for entry in filesystem.get_file_info(FileSelector(folder))}
    if files and not files & {FILE, CHECKSUM}:
        return ""
    if not files >= {FILE, CHECKSUM}:
        return f"stored only in part ({FILE} and {CHECKSUM} belong together)"
    with filesystem.open_input_stream(f"{folder}/{CHECKSUM}") as stream:
        expected = stream.read().decode("ascii", "replace").strip()
    digest = hashlib.sha256()
    with filesystem.open_input_stream(f"{folder}/{FILE}") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return "" if digest.hexdigest() == expected else f"damaged: {FILE} does not match {CHECKSUM}"


def _clear(filesystem: Any, folder: str) -> None:
    """Delete what a kill left of a checkpoint while Ray Train deleted it: an empty folder, or a checksum alone."""
    from pyarrow.fs import FileSelector

    # That it stays, as on a storage where nothing may be deleted, is no reason to end a run.
    with contextlib.suppress(OSError):
        if {entry.base_name for entry in filesystem.get_file_info(FileSelector(folder))} <= {CHECKSUM}:
            filesystem.delete_dir(folder)


def _listed(filesystem: Any, path: str) -> list[str] | None:
    """Names of the checkpoints that Ray Train knows of, oldest first; None if its list is missing or damaged."""
    from ray.train.v2._internal.execution.checkpoint import checkpoint_manager as ray_train

    try:
        with filesystem.open_input_stream(path) as stream:
            state = ray_train._CheckpointManagerState.model_validate(json.loads(stream.read()))
    except (OSError, ValueError):  # of which JSON's and pydantic's errors are kinds
        return None
    names = [result.checkpoint_dir_name for result in state.checkpoint_results]
    latest = state.latest_checkpoint_result
    return names if (latest is None and not names) or (latest and latest.checkpoint_dir_name in names[-1:]) else None


def _snapshot(names: list[str]) -> str:
    """Ray Train's list of checkpoints, as this version of Ray writes it."""
    from ray.train.v2._internal.execution.checkpoint import checkpoint_manager as ray_train

    results = [ray_train._TrainingResultState(checkpoint_dir_name=name, metrics={}) for name in names]
    state = ray_train._CheckpointManagerState(
        checkpoint_results=results,
        checkpoint_report_indices=list(range(len(results))),
        latest_checkpoint_result=results[-1] if results else None,
        pending_training_results=[],
        pending_validation_specs=[],
        current_report_index=len(results),
        validated_checkpoint_dir_names=[],
        timed_out_validation_checkpoint_dir_names=[],
        failed_validation_checkpoint_dir_names=[],
    )
    return str(state.model_dump_json())
