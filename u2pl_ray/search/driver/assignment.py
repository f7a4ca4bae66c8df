"""What the driver and a training hand to each other: a trial to run, and how its training ended."""

from dataclasses import dataclass

from u2pl_ray.config.schema import Config
from u2pl_ray.search.study.trial_record import State


@dataclass(frozen=True)
class Assignment:
    """A trial to run.

    Attributes:
        trial: its id.
        config: its whole configuration.
        reported_epochs: number of epochs whose metrics are in `epochs.jsonl`.
        start: folder below the trial's with the checkpoint of another training that it continues, or None.
    """

    trial: str
    config: Config
    reported_epochs: int
    start: str | None = None


@dataclass(frozen=True)
class Outcome:
    """End of a training.

    Attributes:
        state: COMPLETED, FAILED or INFEASIBLE.
        reason: nan, error, lost, environment (FAILED); memory, refused, invalid (INFEASIBLE).
        detail: one line.
    """

    state: State
    reason: str = ""
    detail: str = ""
