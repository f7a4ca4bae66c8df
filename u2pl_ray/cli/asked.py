"""What a command line with `--resume-if-exists` asks of a search that exists: taken, or said that it is not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from u2pl_ray.search.experiment.experiment import Experiment


@dataclass(frozen=True)
class Asked:
    """Options of `search` as they were given; None, False or empty: not given."""

    trials: int | None = None
    trainings: float | None = None
    replicate: bool = False
    hours: float | None = None
    gpu_hours: float | None = None
    patience: int | None = None
    sampler: str | None = None
    sampler_options: Mapping[str, Any] = field(default_factory=dict)
    scheduler: str | None = None
    scheduler_options: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    warm_start: Sequence[str] = ()
    study_url: str = ""
    baseline: Sequence[str] = ()
    max_concurrent: int | None = None
    keep_trials: int | None = None
    autoscale: bool = False

    def unheeded(self, experiment: "Experiment") -> Iterator[str]:
        """Yield a line for every other option that the experiment was started, or extended, otherwise with."""
        options, budget, has = experiment.options, experiment.options.budget, f"{experiment.name} has"
        for flag, asked, stored in (
            ("--trials", self.trials, options.trials),
            ("--trainings", self.trainings, budget.trainings),
            ("--hours", self.hours, budget.hours),
            ("--gpu-hours", self.gpu_hours, budget.device_hours),
            ("--patience", self.patience, budget.patience),
        ):
            if asked is not None and asked != stored:
                limit = "no such limit" if stored is None else f"{stored:g}"
                yield f"{flag} {asked:g}: {has} {limit}; `u2pl-ray extend` changes that"
        if self.replicate and not budget.answers:
            yield f"--replicate: {experiment.name} was started without; see `u2pl-ray confirm --trainings`"
        for flag, name, given, choice in (
            ("--sampler", self.sampler, self.sampler_options, options.sampler),
            ("--scheduler", self.scheduler, self.scheduler_options, options.scheduler),
        ):
            if name is not None and name != choice.name:
                yield f"{flag} {name}: {has} {choice.name}, and keeps it"
            for key, value in given.items():
                if choice.options.get(key) != value:
                    yield f"{flag}-option {key}={value}: {has} {choice.options.get(key, 'the default')}, and keeps it"
        if self.seed is not None and self.seed != options.sampler.seed:
            yield f"--seed {self.seed}: {has} {options.sampler.seed}, and keeps it"
        baselines = [] if list(self.baseline) == ["none"] else self.baseline
        if self.baseline and set(baselines) != set(options.baselines):
            yield f"--baseline {', '.join(self.baseline)}: {has} {', '.join(options.baselines) or 'none'}, and keeps it"
        if self.study_url and self.study_url != options.study_url:
            yield f"--study-url: {has} its study in {options.study_url or 'a file of its folder'}, and keeps it there"
        yield from self._unlearned(experiment)

    def _unlearned(self, experiment: "Experiment") -> Iterator[str]:
        from u2pl_ray.search.storage import layout

        if self.warm_start and not (experiment.folder / layout.WARM_START).exists():
            yield f"--warm-start: {experiment.name} was started without, and learns from its own trials alone"


NOTHING = Asked()
