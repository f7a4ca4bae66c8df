"""Say what unlabeled images are worth in labeled images: with how many would supervised training score as well?"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from u2pl_ray.config.metrics import spoken
from u2pl_ray.data.splits import part_size
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.worth import METHOD, SHARE, SUPERVISED
from u2pl_ray.search.listeners.formatting import number
from u2pl_ray.search.space.space import Metric
from u2pl_ray.search.storage import layout
from u2pl_ray.search.study.trial_record import State
from u2pl_ray.system.atomic import write_whole

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Worth:
    """What was found.

    Attributes:
        labeled: images with labels that the method had.
        slope: what twice the labels bring supervised training, in the score's unit (positive: better).
        slope_low: lower end of the slope's interval, None with too few trainings for one.
        least: the fewest labels that supervised training was run on.
        pairs: seeds on which the method and supervised training on the same labels are complete.
        ahead: the method's score above that of supervised training on the same labels, the mean over seeds.
        low: lower end of its interval, None below two seeds.
        high: upper end.
    """

    labeled: int
    slope: float
    slope_low: float | None
    least: int
    pairs: int
    ahead: float
    low: float | None
    high: float | None

    @property
    def told(self) -> bool:
        """Whether more labels help supervised training by more than noise, without which nothing can be said."""
        return self.slope_low is not None and self.slope_low > 0

    def equivalent(self, ahead: float) -> float:
        """Return how many labeled images supervised training needs to be `ahead` of itself on `labeled`."""
        return float(self.labeled * 2.0 ** min(ahead / self.slope, 20.0))


def measure(
    method: Mapping[int, float], supervised: Mapping[int, Mapping[int, float]], maximize: bool = True
) -> Worth | None:
    """Compare a method with supervised training on all labels and on parts of them.

    Supervised training is taken to gain `slope` with every doubling of its labels (the least squares line of its scores
    over log2 of the labels, each seed with its own level), as scores of segmentation do over such ranges. Both
    intervals, of the mean paired difference and of the slope, are Student's t; the slope's is not part of the other.

    Args:
        method: score by seed, on all labels.
        supervised: score by seed, by number of labeled images; the largest number is all of them.
        maximize: whether a larger score is better.

    Returns:
        None without a seed that the method and supervised training on all labels share, or without two sizes.
    """
    sign = 1.0 if maximize else -1.0
    if len(supervised) < 2:
        return None
    labeled = max(supervised)
    seeds = sorted(method.keys() & supervised[labeled].keys())
    if not seeds:
        return None
    differences = sign * np.array([method[seed] - supervised[labeled][seed] for seed in seeds])
    slope, error = _slope(supervised)
    slope *= sign
    low = high = None
    if len(seeds) > 1:
        from scipy import stats

        half = float(stats.sem(differences) * stats.t.ppf(0.5 + CONFIDENCE / 2, len(seeds) - 1))
        low, high = float(differences.mean()) - half, float(differences.mean()) + half
    slope_low = None if error is None else slope - error
    return Worth(labeled, slope, slope_low, min(supervised), len(seeds), float(differences.mean()), low, high)


def _slope(supervised: Mapping[int, Mapping[int, float]]) -> tuple[float, float | None]:
    """Return the common slope of each seed's line over log2 of the labels, and half its interval's width.

    With n points of s seeds, the error is estimated with n - s - 1 degrees of freedom; None if there are none.
    """
    seeds = {seed for values in supervised.values() for seed in values}
    of_seed = [
        np.array([(math.log2(count), values[seed]) for count, values in supervised.items() if seed in values])
        for seed in seeds
    ]
    x, y = np.concatenate([points - points.mean(0) for points in of_seed]).T
    if not np.any(x):
        return 0.0, None
    slope = float(x @ y / (x @ x))
    degrees = len(x) - len(seeds) - 1
    if degrees < 1:
        return slope, None
    from scipy import stats

    error = math.sqrt(float(((y - slope * x) ** 2).sum()) / degrees / float(x @ x))
    return slope, error * float(stats.t.ppf(0.5 + CONFIDENCE / 2, degrees))


def sentences(worth: Worth, unlabeled: int, metric: Metric, diverged: Mapping[str, int] | None = None) -> list[str]:
    """Put it into words.

    Args:
        worth: what was found.
        unlabeled: how many unlabeled images there are.
        metric: the score; differences are told in its own sign, below 0 is better where it is minimized.
        diverged: trainings that diverged, by what they trained. They have no score, so the others flatter it.
    """
    sign = 1 if metric.maximize else -1
    interval = ""
    if worth.low is not None and worth.high is not None:
        low, high = sorted((sign * worth.low, sign * worth.high))
        interval = f" ({low:+.4f} .. {high:+.4f})"
    lines = [
        f"With the {unlabeled} unlabeled images {spoken(metric.name)} is {sign * worth.ahead:+.4f}{interval} against "
        f"supervised training on the same {worth.labeled} labeled ones, in pairs by seed ({worth.pairs}).",
        f"Twice the labels bring supervised training {sign * worth.slope:+.4f}.",
    ]
    if diverged:
        return [*lines, _lost(diverged)]
    if not worth.told:
        return [*lines, f"{_no_slope(worth)}, so nothing can be said in labeled images."]
    most = worth.labeled + min(worth.labeled, unlabeled)
    span = ""
    if worth.low is not None and worth.high is not None:
        span = f" ({_images(worth, worth.low, most)} .. {_images(worth, worth.high, most)})"
    told = _images(worth, worth.ahead, most)
    gain = _images(worth, worth.ahead, most, worth.labeled)
    about = "about " if told[0].isdigit() else ""
    lines.append(
        f"That is what supervised training would score with {about}{told}{span} labeled images: "
        f"the unlabeled ones are worth {about}{gain} labeled ones."
    )
    if worth.low is not None and worth.high is not None and worth.low <= 0 <= worth.high:
        lines.append("The interval holds 0: they may be worth nothing.")
    if worth.equivalent(worth.ahead if worth.high is None else worth.high) > worth.labeled:
        lines.append(f"Above {worth.labeled} labeled images nothing was trained; the line is followed to {most}.")
    return lines


def _lost(diverged: Mapping[str, int]) -> str:
    told = "; ".join(f"{count} of {name}" for name, count in diverged.items())
    return f"Trainings diverged ({told}) and have no score, so nothing is said in labeled images."


def _no_slope(worth: Worth) -> str:
    if worth.slope_low is None:
        return "With so few trainings it is not known how much of that is noise"
    return "That is not more than noise" if worth.slope > 0 else "More labels do not help it here"


def _images(worth: Worth, ahead: float, most: int, less: int = 0) -> str:
    """Return how many labeled images supervised training needs, as far as the line may be followed.

    Args:
        worth: what was found.
        ahead: how far it is to be ahead of itself.
        most: where the line ends: twice the labels, or all images if those are fewer.
        less: images to subtract; the result then has a sign.
    """
    sign = "+" if less else ""
    count = round(worth.equivalent(ahead))
    if count > most:
        return f"more than {most - less:{sign}}"
    if count < worth.least:
        return f"fewer than {worth.least - less:{sign}}"
    return f"{count - less:{sign}}"


def worth(experiment: Experiment) -> dict[str, Any]:
    """Compare the trainings of an experiment that `search.experiment.worth` planned, from those that are complete.

    Returns:
        experiment, of, objective, trainings (method, labeled, unlabeled: images; values by seed; diverged), worth (see
        `Worth`; None while too little is done), sentences.
    """
    listed, unlabeled = experiment.options.images
    method: dict[int, float] = {}
    supervised: dict[int, dict[int, float]] = {}
    trainings: dict[str, dict[str, Any]] = {}
    for record in experiment.study().records():
        if not record.diverged and (record.state != State.COMPLETED or record.value is None):
            continue
        # By settings, not by note: what is trained again after a failure has a note of its own.
        params, seed = record.params, record.params["seed"]
        images = part_size(params[SHARE], listed)
        alone = params[METHOD] == SUPERVISED
        name = f"{params[METHOD]}, {images} labeled"
        row = trainings.setdefault(
            name,
            {
                "method": params[METHOD],
                "labeled": images,
                "unlabeled": 0 if alone else unlabeled,
                "values": {},
                "diverged": 0,
            },
        )
        row["diverged"] += record.diverged
        if record.value is not None:
            row["values"][seed] = record.value
            (supervised.setdefault(images, {}) if alone else method)[seed] = record.value
    metric = experiment.space.metric
    found = measure(method, supervised, metric.maximize)
    diverged = {name: row["diverged"] for name, row in trainings.items() if row["diverged"]}
    told = [_lost(diverged)] if diverged else []
    if found is not None:
        told = sentences(found, unlabeled, metric, diverged)
    return {
        "experiment": experiment.name,
        "of": experiment.options.worth_of,
        "objective": metric.name,
        "trainings": list(trainings.values()),
        "worth": None if found is None else asdict(found),
        "sentences": told,
    }


def write_worth(experiment: Experiment) -> Path:
    """Write worth.json into the experiment's folder."""
    target = experiment.folder / layout.WORTH
    write_whole(target, json.dumps(worth(experiment), indent=2))
    experiment.place.publish()
    return target


def print_worth(experiment: Experiment, console: Console) -> None:
    """Print the trainings as a table, and what follows from them.

    Args:
        experiment: see `worth`.
        console: the terminal.
    """
    told = worth(experiment)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("training", no_wrap=True)
    for head in ("labeled", "unlabeled", "seeds", told["objective"], "spread", "diverged"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in told["trainings"]:
        values = list(row["values"].values())
        table.add_row(
            row["method"],
            str(row["labeled"]),
            str(row["unlabeled"]),
            str(len(values)),
            number(mean(values)) if values else "",
            f"{stdev(values):.4f}" if len(values) > 1 else "",
            str(row["diverged"] or ""),
        )
    console.print(table)
    for line in told["sentences"] or ["Too few trainings are complete to say anything."]:
        console.print(line, soft_wrap=True)
