"""Repair an experiment before it continues: its files from their copies, study and trials from each other.

After a kill no repair is needed: every write leaves a readable state. This is for files that were truncated,
overwritten, deleted or edited.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from u2pl_ray.config import metrics as names
from u2pl_ray.config import overrides
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.experiment import snapshot
from u2pl_ray.search.experiment.baselines import companion
from u2pl_ray.search.experiment.options import versions
from u2pl_ray.search.experiment.snapshot import parse_config
from u2pl_ray.search.space.paper_setting import paper_setting
from u2pl_ray.search.storage import layout
from u2pl_ray.search.study.journal import mend_journal
from u2pl_ray.search.study.pareto import measured
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.study.trial_file import TrialFile
from u2pl_ray.search.study.trial_record import State, TrialRecord, trial_id
from u2pl_ray.search.trials.epoch_log import EpochLog, read_epochs
from u2pl_ray.system.atomic import write_whole
from u2pl_ray.train import checkpoint
from u2pl_ray.train.errors import CorruptCheckpoint

_LOST = "the study was lost, and so was this trial's own record"


def restore_files(folder: Path, started_with: Mapping[str, str], force: bool = False) -> list[str]:
    """Restore an experiment's own files from their copies; return lines for the user about the changes.

    Args:
        folder: the experiment's; its lease is held.
        started_with: versions of the packages that results depend on, at the start.
        force: continue although files were edited.

    Raises:
        UserError: files were edited such that results would not be comparable.
    """
    snapshot.restore(folder)
    serious, harmless = snapshot.changes(folder)
    if serious and not force:
        if all(line.startswith(f"{layout.CONFIG}: data.root ") for line in serious):
            raise UserError(
                f"{folder}: edited since the start ({'; '.join(serious)}): if it is the same data in another place, "
                f"`u2pl-ray resume {folder.name} data.root=...` goes on with it and notes the change"
            )
        raise UserError(
            f"{folder}: edited since the start ({'; '.join(serious)}): its trials would not be comparable; put the "
            f"files in {layout.START}/ back, start another search, or add --force"
        )
    notes = [f"edited since the start: {line}" for line in (*serious, *harmless)]
    return notes + [f"not as at the start: {line}" for line in snapshot.version_changes(started_with, versions())]


def mend_study(
    folder: Path, config: Config, open_study: Callable[[bool], TrialStudy], baselines: Sequence[str] = ()
) -> list[str]:
    """Restore study and trials' files from each other; return lines for the user about each repair.

    Args:
        folder: the experiment's; its study is a journal file.
        config: the configuration the trials start from.
        open_study: opens the study; called with True it creates the study again.
        baselines: methods that are trained beside the search.
    """
    journal, trials = folder / layout.STUDY, folder / layout.TRIALS
    trials.mkdir(exist_ok=True)
    damage = mend_journal(journal)
    study = open_study(not journal.exists())
    adopted = _adopt_trials(study, trials)
    space = study.space
    known = study.all_records()
    if damage and not known and (paper := paper_setting(space, config)[0]):
        study.enqueue(paper, "paper")
    if damage:
        present = {record.note for record in known if record.companion is not None}
        for method in baselines:
            if method not in present:
                study.enqueue({}, method, companion=companion(method))
    notes = []
    if damage or adopted:
        told = f"trials {', '.join(adopted)} were made anew from their folders" if adopted else "no trial is affected"
        notes.append(f"{damage or f'{journal}: was cut short'}; {told}")
    return notes + _restore_records(study, trials, lambda record: space.configure(config, record.settings))


def _adopt_trials(study: TrialStudy, trials: Path) -> list[str]:
    """Add trials to the study that only their folders show, and missing ends of trials; return the ids of both.

    Args:
        study: of the experiment.
        trials: folder of its trials.
    """
    known = len(study.all_records())
    numbers = [int(folder.name) for folder in trials.glob("[0-9]*") if folder.name.isdigit()]
    adopted = []
    for number in range(known, max(numbers, default=-1) + 1):
        file = _trial_file(study, trials / trial_id(number))
        fits = file is not None and all(
            parameter.holds(file.params[path])
            for path, parameter in study.space.parameters.items()
            if path in file.params
        )
        if file is None or not fits:  # a proposal that was not valid has no folder
            study.fail(study.adopt(TrialFile({}, State.RUNNING)).number, "invalid", _LOST)
        else:
            study.adopt(file)
            adopted.append(trial_id(number))
    for record in study.all_records():
        if record.state == State.RUNNING:
            told = TrialFile.read(trials / record.id)
            if told is not None and told.state.finished:
                _settle(study, record, told, read_epochs(trials / record.id / layout.EPOCHS))
                adopted.append(record.id)
    return sorted(set(adopted))


def _restore_records(study: TrialStudy, trials: Path, configure: Callable[[TrialRecord], Config]) -> list[str]:
    """Restore missing files of finished trials from study and checkpoints; return lines for the user.

    Args:
        study: of the experiment.
        trials: folder of its trials.
        configure: builds a trial's configuration.
    """
    notes = []
    for record in study.all_records():
        folder = trials / record.id
        if not record.state.finished or record.reason == "invalid":
            continue
        if TrialFile.read(folder) is None:
            TrialFile.of(record).write(folder)
        if _config(folder) is None:
            try:
                write_whole(folder / layout.CONFIG, overrides.dump(configure(record)))
            except UserError:
                continue
            notes.append(f"{folder / layout.CONFIG}: was gone or damaged; written anew")
        log = EpochLog(folder / layout.EPOCHS)
        if len(log.epochs) < record.epochs:
            lost = f"{log.path}: epochs {len(log.epochs) + 1} to {record.epochs} were gone"
            for metrics in _history(folder / layout.RUN)[: record.epochs]:
                log.append(metrics)
            objective = study.space.metric.name
            found = len(log.epochs) >= record.epochs
            notes.append(
                f"{lost}; {'restored from a checkpoint' if found else f'the study has their {objective} only'}"
            )
    return notes


def _trial_file(study: TrialStudy, folder: Path) -> TrialFile | None:
    """Read a trial's file: trial.json, else the searched settings from config.yaml; None if neither is readable.

    Args:
        study: for the searched settings.
        folder: the trial's.
    """
    file = TrialFile.read(folder)
    if file is not None:
        return file
    config = _config(folder)
    if config is None:
        return None
    return TrialFile({path: overrides.get(config, path) for path in study.space.parameters}, State.RUNNING)


def _settle(study: TrialStudy, record: TrialRecord, told: TrialFile, epochs: list[dict[str, Any]]) -> None:
    for row in epochs:
        value = row.get(study.space.metric.name)
        if isinstance(value, int | float):
            study.report(record.number, row[names.EPOCH], float(value))
    if told.state == State.COMPLETED and epochs:
        study.complete(record.number, measured(epochs[-1], study.space.objectives)[0][1:])
    elif told.state == State.STOPPED:
        study.stop(record.number)
    else:
        study.fail(record.number, told.reason, told.detail)


def _history(run: Path) -> list[dict[str, Any]]:
    """Return the metrics of the epochs stored in a training's newest complete checkpoint."""
    stored = (folder for folder in run.glob("epoch_*") if checkpoint.is_directory_name(folder.name))
    for folder in sorted(stored, reverse=True):
        try:
            return list(checkpoint.load(folder)["history"])
        except (CorruptCheckpoint, KeyError):
            continue
    return []


def _config(folder: Path) -> Config | None:
    """Read a trial's configuration from its folder; None if the file is missing or damaged."""
    try:
        return parse_config((folder / layout.CONFIG).read_text("utf-8"), layout.CONFIG)
    except (OSError, UnicodeDecodeError, UserError):
        return None
