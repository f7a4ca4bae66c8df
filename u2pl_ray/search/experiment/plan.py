"""Plan a search: check it against configuration, storage and cluster before it is started."""

import json
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from u2pl_ray.config import overrides
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.metrics import BEST
from u2pl_ray.config.schema import Config
from u2pl_ray.search.cluster.capacity import Fit, check_growth, fit, nodes
from u2pl_ray.search.cluster.connection import connect
from u2pl_ray.search.driver.budget import NO_LIMIT, Budget
from u2pl_ray.search.driver.configurations import Configurations, valid_settings
from u2pl_ray.search.experiment import snapshot
from u2pl_ray.search.experiment.baselines import choose_baselines, companion
from u2pl_ray.search.experiment.choices import choose_sampler, choose_scheduler
from u2pl_ray.search.experiment.disk import checkpoints
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.new_name import new_place, taken
from u2pl_ray.search.experiment.options import TRAINER, Options, describe
from u2pl_ray.search.experiment.replicates import with_replicates
from u2pl_ray.search.experiment.warm_start import gather
from u2pl_ray.search.listeners.formatting import few, many, settings
from u2pl_ray.search.samplers.registry import SAMPLERS
from u2pl_ray.search.schedulers.successive_halving import RungPruner
from u2pl_ray.search.space.file import default_metric, with_metric
from u2pl_ray.search.space.objectives import check_objectives
from u2pl_ray.search.space.paper_setting import paper_setting, unlike_paper
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.storage import layout
from u2pl_ray.search.storage.place import Place, free_space, writable
from u2pl_ray.search.storage.reachability import check_reach
from u2pl_ray.search.study.database import check_url, open_database
from u2pl_ray.search.study.prior_trials import NOTHING, Earlier
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.trials.retention import KEEP

_SHAPES = ("model.representation_dim", "model.options.")
"""Settings that give a network's tensors other shapes."""


@dataclass(frozen=True)
class Plan:
    """A checked search that is not started: nothing is written before `create`."""

    name: str
    place: Place
    config: Config
    space: Space
    options: Options
    fit: Fit
    paper: Mapping[str, Any]
    notes: Sequence[str] = ()
    earlier: Earlier = NOTHING
    queue: Sequence[tuple[Mapping[str, Any], str]] = ()
    replaces: bool = False
    """Whether an experiment of this name is there that came to no epoch, and makes way."""

    @classmethod
    def of(cls, experiment: Experiment) -> "Plan":
        """Return what an experiment that exists goes on with (connects to Ray)."""
        connect()
        options = experiment.options
        room = fit(experiment.config, nodes(), options.max_concurrent, options.autoscale)
        return cls(experiment.name, experiment.place, experiment.config, experiment.space, options, room, {})

    def lines(self) -> list[str]:
        """Describe the plan for the user, line by line."""
        epochs = self.config.train.epochs
        width = max(len(path) for path in self.space.parameters)
        goals = " and ".join(f"{metric.goal} {metric.name}" for metric in self.space.objectives)
        others = ", ".join(self.options.baselines)
        trials = (
            "as many trials as the budget holds," if self.options.trials is None else many(self.options.trials, "trial")
        )
        budget = self.options.budget
        limits = budget.words(self.fit.gpu) or ([trials] if budget.replicating else [])
        return [
            f"experiment   {self.place.location}",
            f"search       {trials} of at most {many(epochs, 'epoch')}, {goals}",
            *([f"beside it    {others}: one training each, with the same budget and seed"] if others else []),
            f"score        {self._score()}",
            *([f"budget       ends after {' or '.join(limits)}{self._split()}"] if limits else []),
            *([] if self.queue else [f"sampler      {self.options.sampler.name}, seed {self.options.sampler.seed}"]),
            f"scheduler    {self.options.scheduler.name}{self._stops()}",
            f"cluster      {self.fit.arithmetic}",
            f"storage      {free_space(self.place.storage)}",
            *([f"study        {self.options.study_url}"] if self.options.study_url else []),
            *checkpoints(self.config, self.space, self.options, self.fit.concurrent, self.place.storage),
            f"space        {self.space.source}",
            *(
                f"  {path:<{width}}  {parameter.extent()}" + (f"   first: {self.paper[path]}" if self.paper else "")
                for path, parameter in ({} if self.queue else self.space.parameters).items()
            ),
            *(f"  {path:<{width}}  {value} (fixed)" for path, value in self.space.constants.items()),
            *(f"  trial {index}  {note}: {settings(values)}" for index, (values, note) in enumerate(self.queue)),
            *(f"warm start   {note}" for note in self.earlier.notes),
            *(f"note         {note}" for note in self.notes),
        ]

    def _split(self) -> str:
        """Say what part of the budget goes to replicates."""
        budget = self.options.budget
        if not budget.replicating:
            return ""
        return f"; {budget.replicating:.0%} of it trains the leaders and the paper's setting again, on new seeds"

    def _score(self) -> str:
        """Say which epoch of a trial counts."""
        name = self.space.metric.name
        if name in BEST.values():
            return f"a trial counts with its best epoch so far ({name}); the checkpoint kept is of its last epoch"
        other = f"; with its best epoch: --score best ({BEST[name]})" if name in BEST else ""
        return f"a trial counts with its last epoch{other}"

    def _stops(self) -> str:
        epochs = self.config.train.epochs
        pruner = self.options.scheduler.build(epochs)
        rungs = pruner.rungs(0, epochs) if isinstance(pruner, RungPruner) else []
        if not rungs:
            return ""
        first, *further = rungs
        later = f", {', '.join(map(str, further))}" if further else ""
        return f", a trial can be stopped early, not before epoch {first}{later} of {epochs}"

    def create(self) -> Experiment:
        """Write the experiment, completely or not at all.

        Raises:
            UserError: the name was used meanwhile, or the storage cannot be written.
        """
        folder = self.place.folder
        partial = folder.with_name(f".{self.name}.{uuid.uuid4().hex[:8]}")
        try:
            partial.mkdir(parents=True)
            (partial / layout.TRIALS).mkdir()
            snapshot.write(partial, layout.CONFIG, overrides.dump(self.config))
            snapshot.write(partial, layout.SPACE, self.space.text)
            snapshot.write(partial, layout.EXPERIMENT, json.dumps(describe(self.name, self.options), indent=2))
            self.earlier.write(partial)
            location = self.options.study_url or partial / layout.STUDY
            study = TrialStudy.create(location, self.name, self.space, *self.options.choices(self.config.train.epochs))
            try:
                paper = [(self.paper, "paper")] if self.paper else []
                for settings, note in [*paper, *self.queue]:
                    study.enqueue(settings, note)
                for method in self.options.baselines:
                    study.enqueue({}, method, companion=companion(method))
                if self.place.exists() and not self.replaces:
                    raise taken(self.place)
                if self.replaces and folder.exists():
                    shutil.rmtree(folder)
                partial.rename(folder)
                self.place.commit()
            except BaseException:
                study.delete()
                raise
        except OSError as error:
            raise UserError(f"{self.place.location}: {error.strerror or error}; use another --storage-path") from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return Experiment.read(self.place)


def plan_search(
    config: Config,
    space: Space,
    *,
    name: str,
    trials: int | None,
    budget: Budget = NO_LIMIT,
    storage_path: str | Path | None = None,
    sampler: str | None = None,
    sampler_options: Mapping[str, Any] | None = None,
    scheduler: str | None = None,
    scheduler_options: Mapping[str, Any] | None = None,
    seed: int = 0,
    warm_start: Sequence[str] = (),
    queue: Sequence[tuple[Mapping[str, Any], str]] | None = None,
    study_url: str = "",
    max_concurrent: int | None = None,
    trainer: str = TRAINER,
    keep: int | None = None,
    autoscale: bool = False,
    examine: Callable[[Config], None] = lambda config: None,
    reserve: Callable[[Place], None] = lambda place: None,
    baselines: Sequence[str] | None = (),
) -> Plan:
    """Check a search against the configuration, the storage and the cluster (connects to Ray; writes nothing).

    Args:
        config: resolved configuration the trials start from.
        space: the searched settings; where its file names no metric, see `default_metric`.
        name: the experiment's; must be new in the storage.
        trials: number of trials, None for no limit but the budget's.
        budget: further limits at which the search ends.
        storage_path: folder that every node reaches, or a URI (s3://bucket/prefix); default: `default_storage()`.
        sampler: default: by the space's `method`, else TPE.
        sampler_options: arguments of the sampler.
        scheduler: default: by the space's `early_terminate`, else ASHA.
        scheduler_options: arguments of the scheduler.
        seed: of the proposals.
        warm_start: earlier experiments whose trials the sampler learns from.
        queue: first settings, instead of the paper's, each with a note on their origin.
        study_url: keep the study in this database, where several drivers can share it.
        max_concurrent: upper limit of trials at once.
        trainer: `module:function`, see `Options`.
        keep: number of finished trials (the best) that keep their checkpoints; default: `KEEP`.
        autoscale: the cluster adds nodes on demand: request resources for `max_concurrent` trials.
        examine: looks at data, weights and network, which takes long; called when all that is quickly found is well.
        reserve: called before that with the place, which is free, so that it can be held (`Place.starting`).
        baselines: methods to train beside the search; None: supervised where that says whether unlabeled images help.

    Raises:
        UserError: one line that names the setting, file or option that is wrong.
    """
    if trials is not None and trials < 1:
        raise UserError(f"--trials {trials}: give at least 1")
    budget.check()
    if keep is not None and keep < 1:
        raise UserError(f"--keep-trials {keep}: give at least 1, or the best trial's checkpoints are lost")
    if autoscale:
        check_growth(config, max_concurrent)
    if study_url:
        open_database(check_url(study_url))
    place, failed = new_place(name, storage_path)
    if trainer == TRAINER:
        space = with_metric(space, [default_metric(space, config)])
        check_objectives(space, config)
    space.check(config)
    config = overrides.apply(config, space.constants)  # what is fixed for all counts in rungs, budget and room, too
    choice = choose_sampler(sampler, sampler_options or {}, seed, space, config, budget.answers and not warm_start)
    choice.check(len(space.objectives))
    stopping = choose_scheduler(scheduler, scheduler_options or {}, space, config, budget.answers)
    if stopping.name == "pbt" and "://" in place.storage:
        raise UserError(f"--scheduler pbt copies checkpoints between trials: give a folder, not {place.storage}")
    if stopping.name == "pbt" and (trials is None or space.further):
        raise UserError("--scheduler pbt: give --trials, the size of its population, and one objective")
    moved = [path for path, each in space.parameters.items() if path.startswith(_SHAPES) and each.choices is None]
    if stopping.name == "pbt" and moved:
        raise UserError(
            f"--scheduler pbt: {moved[0]} changes the network, which goes on from a copy: write it as values"
        )
    if warm_start and not choice.spec.warm_start:
        able = " or ".join(name for name, spec in SAMPLERS.items() if spec.warm_start)
        raise UserError(f"--warm-start: {choice.name} learns nothing from other trials; use {able}")
    earlier = gather(warm_start, space, config, storage_path)
    paper, notes = paper_setting(space, config) if queue is None else ({}, [])
    others, left_out = choose_baselines(baselines, space, config)
    if paper and (differ := unlike_paper(space, config)):
        notes.append(f"trial 0000 is the paper's in what is searched, and as configured in the rest: {few(differ)}")
    notes += left_out + writable(place.storage)
    if failed:
        notes.append(f"{name} is there already and came to no epoch ({failed}): it is replaced")
    if choice.spec.completed_only and stopping.name != "none":
        notes.append(f"{choice.name} learns from completed trials alone; --scheduler none would complete them all")
    drawn = [path for path, parameter in space.parameters.items() if parameter.choices is not None]
    if choice.spec.numbers_only and drawn:
        notes.append(f"{choice.name} moves numbers alone; it draws {', '.join(drawn)} at random")
    if space.beliefs and not choice.spec.priors:
        notes.append(f"{choice.name} takes no priors; those of {', '.join(space.beliefs)} are ignored")
    budget, more = with_replicates(budget, bool(paper), space)
    notes += more
    most = len(valid_settings(space, Configurations(space, config))) if budget.answers else 0
    if most and (trials is None or trials > most):
        trials = most
        notes.append(f"the space has {most} settings: each is tried once; what is left trains the best ones again")
    reserve(place)
    examine(config)
    connect()
    room = fit(config, nodes(), max_concurrent, autoscale)
    if len(nodes()) > 1:
        notes.append(check_reach(place.storage))
    options = Options(
        trials,
        choice,
        stopping,
        max_concurrent,
        trainer,
        budget,
        study_url,
        keep=KEEP if keep is None else keep,
        autoscale=autoscale,
        baselines=others,
    )
    return Plan(name, place, config, space, options, room, paper, notes, earlier, queue or (), bool(failed))
