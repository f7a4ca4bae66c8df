"""A stored experiment: what it was started with, its study, and what its trials came to (files: `storage.layout`)."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from u2pl_ray.config import overrides
from u2pl_ray.config.errors import UserError, nearest
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.budget import spent
from u2pl_ray.search.driver.presence import running
from u2pl_ray.search.driver.rounds import Rounds, left
from u2pl_ray.search.experiment import snapshot
from u2pl_ray.search.experiment.confirmed import Confirmation
from u2pl_ray.search.experiment.options import FORMAT, Options, parse_description, read_options
from u2pl_ray.search.experiment.verdict import verdict
from u2pl_ray.search.listeners.formatting import many
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.storage import layout
from u2pl_ray.search.storage.looks import there
from u2pl_ray.search.storage.place import Folder, Place, default_storage, experiments, find
from u2pl_ray.search.study import borrowed, prior_trials
from u2pl_ray.search.study.allowance import Allowance
from u2pl_ray.search.study.borrowed import BorrowedTraining
from u2pl_ray.search.study.judgement import Judgement
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.study.trial_record import TrialRecord, state_word
from u2pl_ray.search.trials.epoch_log import read_epochs
from u2pl_ray.search.trials.forks import Forks
from u2pl_ray.system.atomic import write_whole
from u2pl_ray.train.run_files import newest

_Stored = TypeVar("_Stored", bound="StoredExperiment")


@dataclass
class StoredExperiment:
    """An experiment at its place in the storage, to be looked at.

    Attributes:
        created: time of creation (UTC).
        versions: of the packages that results depend on, at the start.
        notes: lines for the user about its files.
    """

    name: str
    place: Place
    config: Config
    space: Space
    options: Options
    created: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def folder(self) -> Path:
        """Return the folder of its files; for an experiment on an object store, a local copy without checkpoints."""
        return self.place.folder

    @property
    def argument(self) -> str:
        """Return the argument by which a command names it."""
        there = self.place.storage == default_storage()
        return self.name if there else f"{self.name} --storage-path {shlex.quote(self.place.storage)}"

    @property
    def single(self) -> bool:
        """Return whether it is one training, as `train` makes it, and no search."""
        return self.options.trials == 1 and list(self.space.parameters) == ["seed"]

    @classmethod
    def open(cls: type[_Stored], name: str, storage_path: str | Path | None = None) -> _Stored:
        """Open an existing experiment.

        Args:
            name: its name, folder or URI.
            storage_path: folder or URI in which a name is looked up; None: the default storage.

        Raises:
            UserError: there is none, or one of its files is missing or damaged.
        """
        place = find(name, storage_path)
        place.fetch()
        return cls.read(place)

    @classmethod
    def read(cls: type[_Stored], place: Place) -> _Stored:
        """Read an experiment from its place, whose files were fetched.

        Args:
            place: of the experiment.

        Raises:
            UserError: there is none, or one of its files is missing or damaged.
        """
        folder = place.folder
        if not any(there(where / layout.EXPERIMENT) for where in (folder, folder / layout.START)):
            if place.running():
                raise UserError(
                    f"{folder.name}: is being started: its data are looked at and Ray is started before anything of it "
                    "is written; look again in a minute"
                )
            known = nearest(folder.name, experiments(place.storage))
            raise UserError(f"{place.location}: no such experiment{known}")
        tree, *notes = snapshot.read(folder, layout.EXPERIMENT, parse_description)
        if tree["format"] != FORMAT:
            written = f"written by another version (format {tree['format']}, this one reads {FORMAT})"
            raise UserError(f"{place.location}: {written}")
        config, *more = snapshot.read(folder, layout.CONFIG, snapshot.parse_config)
        space, *others = snapshot.read(folder, layout.SPACE, parse_space)
        notes = [line for line in (*notes, *more, *others) if line]
        options, created = read_options(tree["options"]), tree["created"]
        return cls(tree["name"], place, config, space, options, created, tree["versions"], notes)

    def study(self) -> TrialStudy:
        """Open the experiment's study."""
        return self._open_study()

    def _open_study(self, anew: bool = False) -> TrialStudy:
        location = self.options.study_url or self.folder / layout.STUDY
        what = location, self.name, self.space, *self.options.choices(self.config.train.epochs)
        resume = f"u2pl-ray resume {self.argument}"
        study = TrialStudy.create(*what) if anew else TrialStudy.open(*what, resume=resume)
        study.earlier = prior_trials.read(self.folder, self.space)
        return study

    @property
    def allowance(self) -> Allowance:
        """Return what it may spend in trainings."""
        return self.options.budget.allowance(self.config.train.epochs, self.options.trials)

    def is_finished(self, study: TrialStudy) -> bool:
        """Tell whether no trial is left to run within the budget."""
        forks = Forks(study, self.config, self.options.trials or 0, self.folder / layout.TRIALS)
        rounds = Rounds(study, self.config, self.allowance)
        return not left(study, self.options.trials, forks, rounds) or bool(spent(study, self.options.budget))

    def is_running(self) -> bool:
        """Tell whether a driver works on it at this moment."""
        return running(self.study()) if self._shared else self.place.running()

    def check_writable(self, name: str) -> None:
        """Refuse to write to an object store while a search runs: only its driver may.

        Args:
            name: of the file.

        Raises:
            UserError: a search runs there.
        """
        if not isinstance(self.place, Folder) and self.is_running():
            raise UserError(f"{self.place.below(name)}: can't be written while the search runs; give --output FILE")

    @property
    def _shared(self) -> bool:
        """Return whether several drivers may run it at once: the study is in a database, the files in a folder."""
        return bool(self.options.study_url) and isinstance(self.place, Folder) and self.study().shared

    def write_best(self, study: TrialStudy | None = None, judgement: Judgement | None = None) -> Path | None:
        """Write best.yaml, the best trial's whole configuration; return None if no trial has a value."""
        study = study or self.study()
        judgement = judgement or self.judgement(study)
        best = self.best(study, judgement)
        target = self.folder / layout.BEST
        if best is None:
            target.unlink(missing_ok=True)  # of a trial that has failed since
            return None
        write_whole(target, self.export(best, judgement))
        return target

    def judgement(self, study: TrialStudy) -> Judgement:
        """Return what the trainings say of the settings' worth."""
        records, allowance = study.all_records(), Rounds(study, self.config, self.allowance).allowance
        missing = 0
        if allowance.limited and any(it.replicate for it in records) and not self.is_finished(study):
            missing = allowance.replicates(records)
        looks = self.options.budget.looks
        return Judgement(self.space, self.config, records, looks, self.borrowed_trainings(), missing)

    def borrowed_trainings(self) -> list[BorrowedTraining]:
        """Return the trainings of other experiments that count here: its confirmation's, and those it started from."""
        found = borrowed.read(self.folder)
        return found if self.options.confirms else found + self._confirmed.trainings()

    @cached_property
    def _confirmed(self) -> Confirmation:
        return Confirmation(self.confirmation, self, StoredExperiment.read)

    @property
    def confirmation(self) -> str:
        """Return the name of the experiment that confirms this one, see `experiment.confirm`."""
        return f"{self.name}-confirm"

    def best(self, study: TrialStudy, judgement: Judgement | None = None) -> TrialRecord | None:
        """Return the setting to use; None if no trial has a value.

        With replicates: the leader if it is better than the paper's by their posterior, else the paper's. Without: the
        trial with the best value.
        """
        judgement = judgement or self.judgement(study)
        use = judgement.use if judgement.repeated else None
        return study.best() if use is None else study.record(int(use))

    def export(self, trial: TrialRecord, judgement: Judgement | None = None) -> str:
        """Return a trial's whole configuration as YAML that `train` accepts, with a comment on its result.

        Args:
            trial: whose.
            judgement: for the setting to use: says in a comment why it is that one.
        """
        why = verdict(judgement) if judgement is not None and judgement.repeated else ""
        told = f"{self.space.metric.name} {trial.latest} after {many(trial.epochs, 'epoch')}"
        pairs = list(zip(self.space.objectives, trial.objectives, strict=False))[1:]
        told += "".join(f", {metric.name} {value}" for metric, value in pairs)
        configuration = overrides.dump(self.space.configure(self.config, trial.settings))
        return (f"# {why}\n" if why else "") + f"# Trial {trial.id} of {self.name}: {told}.\n{configuration}"

    def trial_folder(self, trial: str) -> Path:
        """Return the folder of a trial's records."""
        return self.folder / layout.TRIALS / trial

    def epochs(self, trial: str) -> list[dict[str, Any]]:
        """Read the metrics that a trial reported after each epoch."""
        return read_epochs(self.trial_folder(trial) / layout.EPOCHS)

    def checkpoint(self, trial: str) -> str | None:
        """Return the path or URI of a trial's newest checkpoint, None if none is stored."""
        stored = newest(self.place.below(f"{layout.TRIALS}/{trial}/{layout.RUN}"))
        return None if stored is None else self.place.below(f"{layout.TRIALS}/{trial}/{layout.RUN}/{stored}")

    def status(self) -> dict[str, Any]:
        """Return the experiment as plain data: name, best (an id), trials (id, state, epochs, params, metrics)."""
        study, running = self.study(), self.is_running()
        best = self.best(study)
        return {
            "name": self.name,
            "best": None if best is None else best.id,
            **({"front": [record.id for record in study.front()]} if self.space.further else {}),
            "trials": [self._trial_status(record, running) for record in study.all_records()],
        }

    def _trial_status(self, record: TrialRecord, running: bool) -> dict[str, Any]:
        reported = self.epochs(record.id)
        scalars = {
            key: value
            for key, value in (reported[-1] if reported else {}).items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        status = {
            "id": record.id,
            "state": state_word(record, running),
            "epochs": record.epochs,
            "params": record.params,
            "metrics": scalars,
        }
        if record.companion is not None:
            status["companion"] = record.companion.as_data()
        if record.failed:
            status |= {"reason": record.reason, "detail": record.detail}
        return status
