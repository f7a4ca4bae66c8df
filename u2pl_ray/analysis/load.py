"""Load an experiment as tables: for notebooks, and for the other modules of this package.

from u2pl_ray.analysis import load
mine = load("mine")
mine.trials.sort_values("value")
mine.curves.query("metric == 'val/miou' and `class` == ''").pivot(index="epoch", columns="trial", values="value")
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from u2pl_ray.config import metrics as names
from u2pl_ray.config.schema import Config
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.schedulers.successive_halving import RungPruner
from u2pl_ray.search.space.space import Metric
from u2pl_ray.search.study.companion import Kind
from u2pl_ray.search.study.judgement import Judgement
from u2pl_ray.search.study.pareto import front
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.study.trial_record import State, TrialRecord

if TYPE_CHECKING:
    import pandas as pd

HISTOGRAMS = {"diag/entropy/hist": "all", "diag/entropy/hist_right": "right", "diag/entropy/hist_wrong": "wrong"}


@dataclass(frozen=True)
class Analysis:
    """An experiment, running or finished, in the state in which it was loaded.

    Attributes:
        experiment: the loaded experiment.
        study: its Optuna study.
        everything: the trials of the search and their companions, in the order of their creation.
        best: the best trial, or with replicates the setting to use (see `Experiment.best`); None if none has a value.
        judgement: what all trainings together say of the settings' worth.
        epochs: by trial, the metrics it reported after each epoch.
        running: whether a driver works on it.
    """

    experiment: Experiment
    study: TrialStudy
    everything: list[TrialRecord]
    best: TrialRecord | None
    judgement: Judgement
    epochs: Mapping[str, list[dict[str, Any]]]
    running: bool

    @cached_property
    def records(self) -> list[TrialRecord]:
        """Return the trials of the search, in the order of their creation."""
        return [record for record in self.everything if record.companion is None]

    @cached_property
    def baselines(self) -> list[TrialRecord]:
        """Return the trainings of other methods beside the search."""
        kinds = ((record, record.companion) for record in self.everything)
        return [record for record, companion in kinds if companion is not None and companion.kind == Kind.BASELINE]

    @property
    def name(self) -> str:
        """Return the experiment's name."""
        return self.experiment.name

    @property
    def metric(self) -> Metric:
        """Return the first objective."""
        return self.experiment.space.metric

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the class names in label order."""
        return self.experiment.config.data.classes

    @property
    def paper(self) -> TrialRecord | None:
        """Return the trial of the paper's setting, of several one that did not fail; None if there is none."""
        return None if self.judgement.reference is None else self.record(self.judgement.reference)

    @cached_property
    def front(self) -> list[TrialRecord]:
        """Return the Pareto front of the completed trials, sorted by the first objective, best first."""
        return front(self.records, self.experiment.space.objectives)

    @property
    def rungs(self) -> list[int]:
        """Return the epochs after which trials can be stopped, over all brackets; none without rungs."""
        epochs, pruner = self.experiment.config.train.epochs, self.study.pruner
        if not isinstance(pruner, RungPruner):
            return []
        return sorted({rung for number in range(pruner.brackets) for rung in pruner.rungs(number, epochs)})

    def record(self, trial: str) -> TrialRecord:
        """Return the trial with this id."""
        return next(record for record in self.everything if record.id == trial)

    def config(self, trial: str) -> Config:
        """Read a trial's whole configuration."""
        return self.experiment.space.configure(self.experiment.config, self.record(trial).settings)

    def folder(self, trial: str) -> Path:
        """Return the folder of a trial's files."""
        return self.experiment.trial_folder(trial)

    def ranked(self) -> list[TrialRecord]:
        """Return the trials with a value that did not fail, best first; completed ones before all others."""
        sign = -1 if self.metric.maximize else 1
        valued = [record for record in self.records if record.result is not None]
        return sorted(valued, key=lambda record: (record.state != State.COMPLETED, sign * (record.result or 0.0)))

    @cached_property
    def trials(self) -> "pd.DataFrame":
        """Return a table with one row per trial.

        Columns: trial, state, note ("paper" for the paper's setting), epochs, value (the metric at the end or so
        far), best (bool), reason and detail (of a failure), started and finished (local time), seconds; then every
        searched setting by its dotted path; then every metric of the last epoch that is not of one class.
        """
        best = None if self.best is None else self.best.id
        rows = []
        for record in self.records:
            reported = self.epochs[record.id]
            last = reported[-1] if reported else {}
            rows.append(
                {
                    "trial": record.id,
                    "state": record.state.value,
                    "note": record.note,
                    "epochs": record.epochs,
                    "value": record.latest,
                    "best": record.id == best,
                    "reason": record.reason,
                    "detail": record.detail,
                    "started": record.started,
                    "finished": record.finished,
                    "seconds": _seconds(record),
                    **{path: record.params.get(path) for path in self.experiment.space.parameters},
                    **{key: value for key, value, kind in _scalars(last, self.classes) if not kind},
                }
            )
        import pandas as pd

        return pd.DataFrame(rows)

    @cached_property
    def curves(self) -> "pd.DataFrame":
        """Return `val/...`, `train/...` and `perf/...` by epoch: trial, epoch, metric, class ("" for all), value."""
        return self._long(diagnostics=False)

    @cached_property
    def diagnostics(self) -> "pd.DataFrame":
        """Return `diag/...` by epoch: trial, epoch, metric, class ("" for all), value."""
        return self._long(diagnostics=True)

    @cached_property
    def histograms(self) -> "pd.DataFrame":
        """Return entropies by epoch: trial, epoch, pixels ("all", "right", "wrong"), low, high (nats), count."""
        rows = []
        for trial, reported in self.epochs.items():
            for row in reported:
                for key, kind in HISTOGRAMS.items():
                    counts = row.get(key) or []
                    width = row.get("diag/entropy/max", 0.0) / max(1, len(counts))
                    for index, count in enumerate(counts):
                        rows.append((trial, row[names.EPOCH], kind, index * width, (index + 1) * width, count))
        import pandas as pd

        return pd.DataFrame(rows, columns=["trial", "epoch", "pixels", "low", "high", "count"])

    def _long(self, diagnostics: bool) -> "pd.DataFrame":
        rows = []
        for trial, reported in self.epochs.items():
            for row in reported:
                for key, value, kind in _scalars(row, self.classes):
                    if key.startswith("diag/") == diagnostics and "/" in key:
                        rows.append((trial, row[names.EPOCH], key, kind, value))
        import pandas as pd

        return pd.DataFrame(rows, columns=["trial", "epoch", "metric", "class", "value"])


def load(name: str, storage_path: str | Path | None = None) -> Analysis:
    """Load an experiment in its present state.

    Args:
        name: its name, or the path of its folder.
        storage_path: where experiments are kept; default: U2PL_RAY_STORAGE, else ~/u2pl-ray.

    Raises:
        UserError: there is no such experiment, or one of its files is gone or damaged.
    """
    return analyse(Experiment.open(name, storage_path))


def analyse(experiment: Experiment) -> Analysis:
    """Load an opened experiment in its present state."""
    running = experiment.is_running()  # asked first: a search that ends meanwhile counts as running
    study = experiment.study()
    records = study.all_records()
    epochs = {record.id: experiment.epochs(record.id) for record in records}
    judgement = experiment.judgement(study)
    return Analysis(experiment, study, records, experiment.best(study, judgement), judgement, epochs, running)


def _scalars(row: Mapping[str, Any], classes: tuple[str, ...]) -> Iterable[tuple[str, float, str]]:
    """Yield (metric, value, class or "") for all numbers of an epoch.

    Args:
        row: metrics of the epoch.
        classes: class names in label order.
    """
    for key, value in row.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            kind = next((name for name in classes if key.endswith(f"/{name}")), "")
            yield key[: -len(kind) - 1] if kind else key, value, kind


def _seconds(record: TrialRecord) -> float | None:
    if record.started is None or record.finished is None:
        return None
    return (record.finished - record.started).total_seconds()
