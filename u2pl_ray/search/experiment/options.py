"""Options of a search, and their form in experiment.json."""

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib import metadata
from typing import Any

from optuna.pruners import BasePruner

from u2pl_ray.config.errors import UserError
from u2pl_ray.search.driver.budget import NO_LIMIT, Budget
from u2pl_ray.search.experiment.snapshot import parse_json
from u2pl_ray.search.samplers.registry import SamplerChoice
from u2pl_ray.search.schedulers.registry import SchedulerChoice
from u2pl_ray.search.trials.retention import KEEP

FORMAT = 1
TRAINER = "u2pl_ray.train.launch:build_trainer"
_VERSIONS = ("u2pl_ray", "ray", "optuna", "torch")


@dataclass(frozen=True)
class Options:
    """Options of a search.

    Attributes:
        trials: number of trials, None for no limit.
        sampler, scheduler: which propose trials, and stop them early.
        max_concurrent: upper limit of trials at once; None: as many as the cluster holds.
        trainer: `module:function` that builds a trial's trainer.
        budget: further limits at which the search ends.
        study_url: the database that holds the study, or an empty string for a journal file in the experiment's folder.
        confirms: the experiment that this one is the confirmation of, or an empty string.
        worth_of: the search whose unlabeled images this one measures the worth of, or an empty string.
        images: with worth_of, how many labeled and unlabeled images its lists have.
        keep: number of finished trials (the best) that keep their checkpoints.
        autoscale: the cluster adds nodes on demand: request resources for `max_concurrent` trials.
        baselines: methods that are trained beside the search, see `experiment.baselines`.
    """

    trials: int | None
    sampler: SamplerChoice
    scheduler: SchedulerChoice
    max_concurrent: int | None = None
    trainer: str = TRAINER
    budget: Budget = NO_LIMIT
    study_url: str = ""
    confirms: str = ""
    worth_of: str = ""
    images: tuple[int, ...] = ()
    keep: int = KEEP
    autoscale: bool = False
    baselines: tuple[str, ...] = ()

    def choices(self, epochs: int) -> tuple[SamplerChoice, BasePruner]:
        """Return the sampler and build the pruner of a study whose trials have at most `epochs` epochs."""
        return self.sampler, self.scheduler.build(epochs)


def versions() -> dict[str, str]:
    """Return the installed versions of the packages that results depend on."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in _VERSIONS}}


def describe(name: str, options: Options) -> dict[str, Any]:
    """Build the content of experiment.json.

    Args:
        name: the experiment's.
        options: of the search.
    """
    return {
        "format": FORMAT,
        "name": name,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": versions(),
        "options": {
            "trials": options.trials,
            "sampler": {
                "name": options.sampler.name,
                "seed": options.sampler.seed,
                "options": dict(options.sampler.options),
            },
            "scheduler": {"name": options.scheduler.name, "options": dict(options.scheduler.options)},
            "max_concurrent": options.max_concurrent,
            "trainer": options.trainer,
            "budget": asdict(options.budget),
            "study_url": options.study_url,
            "confirms": options.confirms,
            "worth_of": options.worth_of,
            "images": list(options.images),
            "keep": options.keep,
            "autoscale": options.autoscale,
            "baselines": list(options.baselines),
        },
    }


def read_options(tree: Mapping[str, Any]) -> Options:
    """Read the options back from the value of `options` in experiment.json.

    Raises:
        KeyError, TypeError: a key is missing or unknown.
    """
    return Options(
        trials=tree["trials"],
        sampler=SamplerChoice(**tree["sampler"]),
        scheduler=SchedulerChoice(**tree["scheduler"]),
        max_concurrent=tree["max_concurrent"],
        trainer=tree["trainer"],
        budget=Budget(**tree.get("budget", {})),  # experiments of earlier versions have none of these
        study_url=tree.get("study_url", ""),
        confirms=tree.get("confirms", ""),
        worth_of=tree.get("worth_of", ""),
        images=tuple(tree.get("images", ())),
        keep=tree.get("keep", KEEP),
        autoscale=tree.get("autoscale", False),
        baselines=tuple(tree.get("baselines", ())),
    )


def parse_description(text: str, name: str) -> dict[str, Any]:
    """Parse experiment.json; the options are checked only if its format is this version's.

    Args:
        text: the file's content.
        name: of the file in messages.

    Raises:
        UserError: the file is damaged.
    """
    tree = parse_json(text, name)
    if tree.get("format", FORMAT) != FORMAT:
        return tree
    try:
        read_options(tree["options"])
        tree["format"], tree["name"], tree["created"], tree["versions"]
    except (KeyError, TypeError) as error:
        raise UserError(f"{name}: damaged ({type(error).__name__} {error})") from None
    return tree
