"""Rules that find in a trial's diagnostics what is likely to be wrong with it.

A rule examines the configuration and the reported metrics of one trial, and makes statements about that trial only.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Any, NamedTuple

from u2pl_ray.config import metrics as names
from u2pl_ray.config.checks import rank_window, working_ranks
from u2pl_ray.config.schema import Config

DATA_WAIT = "data_wait"
_IDLE = 0.5
"""Share of a step's time that is spent waiting for data, above which a trial is named."""
_RECENT = 3  # epochs, of which the mean is taken


@dataclass(frozen=True)
class Seen:
    """A finding in one trial; of several trials, the one with the largest `weight` is described."""

    weight: float
    text: str


@dataclass(frozen=True)
class Trial:
    """A trial as far as it has come: its configuration, metrics by epoch, and the names of the classes."""

    id: str
    config: Config
    epochs: Sequence[Mapping[str, Any]]
    classes: Sequence[str]

    @property
    def semi_supervised(self) -> list[Mapping[str, Any]]:
        """Return the epochs in which unlabeled images were used."""
        return [row for row in self.epochs if "diag/alpha" in row]

    def by_class(self, row: Mapping[str, Any], group: str) -> dict[str, float]:
        """Return a per-class diagnostic by class, for the classes that have it.

        Args:
            row: metrics of an epoch.
            group: the metric's name without the class.
        """
        found = {name: row.get(names.per_class(group, name)) for name in self.classes}
        return {name: value for name, value in found.items() if value is not None}


def _alpha(trial: Trial) -> Seen | None:
    """Find an alpha that discards most pixels at the first epochs with unlabeled images."""
    rows = trial.semi_supervised
    by_quantile = trial.config.method.traits.quantile and not trial.config.method.least_confidence
    if not rows or not by_quantile or rows[0]["diag/reliable_fraction"] > 0.4:
        return None
    used, alpha = rows[0]["diag/reliable_fraction"], trial.config.method.alpha
    text = (
        f"in the first epoch with unlabeled images only {used:.0%} of their pixels got a pseudo-label, "
        f"{mean(row['diag/reliable_fraction'] for row in rows):.0%} over the training. The cause is "
        f"method.alpha.start={alpha.start:g} ({alpha.kind}), which calls the rest unreliable"
    )
    right = rows[0].get("diag/pseudo_label/accuracy_unreliable")
    if right is not None:
        text += f", although {right:.0%} of those pseudo-labels were right"
    return Seen(1 - used, f"{text}. Lower method.alpha.start; the paper's is 0.2.")


def _no_contrast(trial: Trial) -> Seen | None:
    """Find a contrastive loss that stays 0."""
    rows = trial.semi_supervised
    if len(rows) < 2 or not trial.config.method.contrasts or any(row[names.loss("contrastive")] for row in rows):
        return None
    last, ranks = rows[-1], trial.config.method.contrastive
    empty, unsure = (
        [name for name, share in trial.by_class(last, group).items() if share > 0.9]
        for group in ("negatives/missing", "anchors/missing")
    )
    why = "no class has a negative together with an anchor"
    if len(empty) == len(trial.classes):
        why = f"no pixel is a negative of any class (low_rank={ranks.low_rank}, high_rank={ranks.high_rank})"
    elif len(unsure) == len(trial.classes):
        why = f"no pixel is an anchor (method.contrastive.anchor_threshold={ranks.anchor_threshold:g})"
    low, high = working_ranks(len(trial.classes))
    text = (
        f"the contrastive loss has been 0 in every epoch with unlabeled images ({len(rows)}): {why}. It teaches "
        f"nothing. Use method.contrastive.low_rank={low} method.contrastive.high_rank={high}, which suit "
        f"{len(trial.classes)} classes, and an anchor_threshold that the teacher reaches."
    )
    return Seen(len(rows), text)


def _forgotten(trial: Trial) -> Seen | None:
    """Find classes that pseudo-labels named in two epochs or more, and no longer do, or never did in five."""
    rows = trial.semi_supervised
    if not rows:
        return None
    named = [set(trial.by_class(row, "reliable_fraction")) for row in rows]
    before = {name: sum(name in classes for classes in named) for name in trial.classes if name not in named[-1]}
    gone = [name for name, epochs in before.items() if epochs >= 2]
    never = [name for name, epochs in before.items() if not epochs and rows[-1].get(names.val_iou(name)) is not None]
    never = never if len(rows) >= 5 else []
    if not gone and not never:
        return None
    said = [f"no pseudo-label names {', '.join(gone)} any more"] if gone else []
    said += [f"none has named {', '.join(never)} yet, in {len(rows)} epochs"] if never else []
    text = (
        f"{'; '.join(said)}. The student unlearns what it is never shown: try method.balance.margin=1, "
        "method.balance.alignment=0.5 with method.reliability.confidence=0.9, or a lower method.unsupervised_weight."
    )
    return Seen(len(gone) + len(never), text)


def _few_reliable(trial: Trial) -> Seen | None:
    """Find a share of reliable pixels that has collapsed, and not by alpha."""
    rows, method = trial.semi_supervised, trial.config.method
    if not rows:
        return None
    last, most = rows[-1]["diag/reliable_fraction"], max(row["diag/reliable_fraction"] for row in rows)
    meant = 1 - rows[-1]["diag/alpha"] if method.traits.quantile else 1.0
    if last > max(0.05, 0.25 * most) or last > 0.5 * meant:
        return None
    fell = f", down from {most:.1%}" if most > last else ""
    cure = "use the teacher later (method.warmup_epochs), or mend the training: it may have diverged"
    if method.least_confidence:
        cure = f"lower method.reliability.confidence ({method.least_confidence:g}), or {cure}"
    text = f"in its last epoch {last:.1%} of the unlabeled pixels were reliable{fell}: almost nothing is learned from "
    return Seen(meant - last, f"{text}unlabeled images. Reliable means: {method.reliable_if}. Remedy: {cure}.")


def _capacity(trial: Trial) -> Seen | None:
    """Find queues with fewer keys than an anchor draws negatives."""
    rows, method = trial.semi_supervised, trial.config.method
    fills = trial.by_class(rows[-1], "bank/fill") if rows else {}
    wanted = method.contrastive.negatives
    if not fills or median(fills.values()) >= wanted or method.memory_bank.capacity >= wanted:
        return None
    held = median(fills.values())
    text = (
        f"a class's queue holds {held:.0f} key{'s' * (held != 1)}, and every anchor draws {wanted} negatives from it: "
        f"the same ones over and over. The cause is method.memory_bank.capacity={method.memory_bank.capacity}. Raise "
        "it to some thousands; the paper's is 30000."
    )
    return Seen(wanted / max(held, 1.0), text)


def _rank_window(trial: Trial) -> Seen | None:
    """Find a rank window that leaves few of the classes."""
    classes, ranks = len(trial.classes), trial.config.method.contrastive
    rows = [row for row in trial.semi_supervised if trial.by_class(row, "bank/pushed")]
    low, high = working_ranks(classes)
    set_low, set_high = rank_window(ranks, classes)
    if not rows or set_low <= max(low, classes / 2):
        return None
    left = min(set_high, classes) - set_low
    text = (
        f"with {classes} classes, method.contrastive.low_rank={set_low} leaves an unreliable pixel as a "
        f"negative of only {left} class{'es' * (left > 1)}, and makes labeled pixels negatives of "
        "classes they do not resemble"
    )
    false_rate = rows[-1].get("diag/negatives/false_rate")
    if false_rate is not None and false_rate < 0.01:
        text += f": the keys are easy ({false_rate:.1%} truly are of their class), and the contrast teaches little"
    cure = f"method.contrastive.low_rank={low} method.contrastive.high_rank={high}"
    return Seen(set_low / classes, f"{text}. The cause is low_rank, too high for so few classes. Use {cure}.")


def _no_separation(trial: Trial) -> Seen | None:
    """Find an entropy threshold that does not separate right from wrong pseudo-labels."""
    last = trial.semi_supervised[-1] if trial.semi_supervised else {}
    good, bad = (last.get(f"diag/pseudo_label/accuracy_{kind}") for kind in ("reliable", "unreliable"))
    if good is None or bad is None or bad < good - 0.05:
        return None
    text = (
        f"in its last epoch {good:.0%} of the reliable and {bad:.0%} of the unreliable pseudo-labels are right: "
        "entropy does not tell them apart yet. Train the teacher longer before it is used (method.warmup_epochs), or "
        "longer altogether."
    )
    return Seen(bad - good, text)


def _no_negatives(trial: Trial) -> Seen | None:
    """Find classes whose queue stays empty."""
    return _missing(
        trial,
        "negatives/missing",
        "had no negatives",
        "No pixel ranks them within [low_rank, high_rank): lower method.contrastive.low_rank.",
    )


def _no_anchors(trial: Trial) -> Seen | None:
    """Find classes without anchors, because no pixel is confident enough."""
    return _missing(
        trial,
        "anchors/missing",
        "had no anchors",
        "The teacher is never that sure of them (method.contrastive.anchor_threshold), or they are rarely seen: the "
        "contrast does nothing for them.",
    )


def _missing(trial: Trial, group: str, what: str, why: str) -> Seen | None:
    rows = trial.semi_supervised
    shares = trial.by_class(rows[-1], group) if rows else {}
    without = [name for name, share in shares.items() if share > 0.9]
    if not without:
        return None
    return Seen(len(without), f"in the last epoch {', '.join(without)} {what} in over 90% of the steps. {why}")


def _turnover(trial: Trial) -> Seen | None:
    """Find queues whose keys are replaced within less than one step."""
    rows, bank = trial.semi_supervised, trial.config.method.memory_bank
    ages = trial.by_class(rows[-1], "bank/key_age") if rows else {}
    if not ages or median(ages.values()) >= 1 or bank.capacity < trial.config.method.contrastive.negatives:
        return None
    text = (
        f"keys are {median(ages.values()):.1f} steps old on average, so a queue of {bank.capacity} is replaced almost "
        "every step and its length hardly matters. Raise method.memory_bank.capacity or lower "
        f"method.memory_bank.push_cap ({bank.push_cap or 'none'})."
    )
    return Seen(1 - median(ages.values()), text)


def _collapse(trial: Trial) -> Seen | None:
    """Find a metric that is lower at the end than at the first epochs with unlabeled images."""
    warmup = trial.config.method.warmup_epochs
    if not trial.semi_supervised or not 0 < warmup < len(trial.epochs):
        return None
    before, after = (trial.epochs[index][names.VAL_MIOU] for index in (warmup - 1, -1))
    if before is None or after is None or after > 0.85 * before:
        return None
    text = (
        f"the student's validation mIoU fell from {before:.3f} at the end of the warm-up to {after:.3f}: the "
        "pseudo-labels teach wrong things. Lengthen method.warmup_epochs or lower method.unsupervised_weight."
    )
    return Seen(before - after, text)


def _teacher_behind(trial: Trial) -> Seen | None:
    """Find a teacher whose moving average is still behind the student."""
    last = trial.epochs[-1]
    student, teacher = last.get(names.VAL_MIOU), last.get(names.VAL_TEACHER_MIOU)
    if not trial.semi_supervised or student is None or teacher is None or teacher > 0.8 * student:
        return None
    text = (
        f"the teacher ends at mIoU {teacher:.3f}, the student at {student:.3f}: pseudo-labels come from a network "
        f"that has not caught up. Lower method.teacher_momentum ({trial.config.method.teacher_momentum:g}) or train "
        "for longer."
    )
    return Seen(student - teacher, text)


def _data_wait(trial: Trial) -> Seen | None:
    """Find a device that waits for its images most of the time, in the last epochs."""
    shares = [row["perf/data_wait"] for row in trial.epochs[-_RECENT:] if "perf/data_wait" in row]
    if len(shares) < 2 or mean(shares) <= _IDLE:  # the first epoch may read from a cold disk
        return None
    text = f"waits for data {mean(shares):.0%} of its steps' time (the last {len(shares)} epochs). Remedy: more "
    loaders = f"data.loader_workers ({trial.config.data.loader_workers} now; each takes a CPU core)"
    return Seen(mean(shares), f"{text}{loaders}, a faster disk, or smaller image files.")


class Rule(NamedTuple):
    """What a rule's finding is called.

    Attributes:
        kind: a short name, such as "alpha".
        title: the observation in a few words.
        severe: whether it makes a trial's value unreliable.
        at_once: whether it is worth an interruption as soon as it is seen.
    """

    kind: str
    title: str
    severe: bool = False
    at_once: bool = False


RULES: dict[Callable[[Trial], Seen | None], Rule] = {
    _alpha: Rule("alpha", "alpha throws most pixels away", severe=True, at_once=True),
    _no_contrast: Rule("no_contrast", "The contrastive loss stays 0", severe=True, at_once=True),
    _forgotten: Rule("forgotten", "Classes that no pseudo-label names", severe=True, at_once=True),
    _few_reliable: Rule("few_reliable", "Hardly a pixel is reliable", severe=True, at_once=True),
    _capacity: Rule("capacity", "The memory bank holds fewer keys than an anchor draws", severe=True),
    _rank_window: Rule("rank_window", "low_rank is too high for the number of classes", severe=True),
    _no_negatives: Rule("no_negatives", "Classes without negatives", severe=True),
    _no_separation: Rule("no_separation", "Entropy does not separate right from wrong", severe=True),
    _collapse: Rule("collapse", "The unlabeled images made it worse", severe=True),
    _teacher_behind: Rule("teacher_behind", "The teacher lags behind"),
    _no_anchors: Rule("no_anchors", "Classes without anchors"),
    _data_wait: Rule(DATA_WAIT, "The device waits for its data"),
    _turnover: Rule("turnover", "The memory bank is replaced almost every step"),
}
