"""What happens to an experiment before it goes on: its files are put right, and edited ones are refused."""

from pathlib import Path
from typing import TYPE_CHECKING

from u2pl_ray.config.errors import UserError
from u2pl_ray.search.experiment import snapshot
from u2pl_ray.search.experiment.options import versions
from u2pl_ray.search.experiment.recovery import adopt_trials, restore_records
from u2pl_ray.search.space.paper_setting import paper_setting
from u2pl_ray.search.study.journal import mend_journal
from u2pl_ray.search.study.study import TrialStudy

if TYPE_CHECKING:
    from u2pl_ray.search.experiment.experiment import Experiment


def prepare(experiment: "Experiment", force: bool = False) -> list[str]:
    """Make an experiment ready to go on; lines for people about what was not as it should be.

    Args:
        experiment: its lease is held.
        force: go on although its files were edited.

    Raises:
        UserError: they were edited.
    """
    folder = experiment.folder
    notes = list(experiment.notes)
    snapshot.restore(folder)
    serious, harmless = snapshot.changes(folder)
    if serious and not force:
        raise UserError(
            f"{folder}: edited since the start ({'; '.join(serious)}): its trials would not be comparable; put the "
            f"files in {snapshot.COPIES}/ back, start another search, or add --force"
        )
    notes += [f"edited since the start: {line}" for line in (*serious, *harmless)]
    notes += [f"not as at the start: {line}" for line in snapshot.version_changes(experiment.versions, versions())]
    return notes


def mend_study(experiment: "Experiment") -> list[str]:
    """Put its study and its trials' files right, from each other; lines for people about what was not."""
    journal, trials = experiment.folder / "study.journal", experiment.folder / "trials"
    trials.mkdir(exist_ok=True)
    notes = _mend_journal(experiment, journal, trials)
    return notes + restore_records(
        experiment.study(), trials, lambda record: experiment.space.configure(experiment.config, record.params)
    )


def _mend_journal(experiment: "Experiment", journal: Path, trials: Path) -> list[str]:
    damage = mend_journal(journal)
    if not journal.exists():
        choices = experiment.options.choices(experiment.config.train.epochs)
        TrialStudy.create(journal, experiment.name, experiment.space, *choices)
    study = experiment.study()
    adopted = adopt_trials(study, trials)
    if damage and not study.records() and (paper := paper_setting(experiment.space, experiment.config)[0]):
        study.enqueue(paper, "paper")
    if not damage and not adopted:
        return []
    told = f"trials {', '.join(adopted)} were made anew from their folders" if adopted else "no trial is affected"
    return [f"{damage or f'{journal}: was cut short'}; {told}"]
