"""Count trials against the requested number, and those still to be run: one rule for driver, status and report."""

from collections.abc import Sequence

from u2pl_ray.search.study.trial_record import TrialRecord


def counted(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials that count against the number asked for.

    Not counted are companions; invalid ones, which never started; forks, which go on in another's place; and failed
    ones that a retry does again.
    """
    again = {record.retries for record in records}
    return [
        record
        for record in records
        if record.companion is None
        and record.reason != "invalid"
        and record.fork is None
        and record.number not in again
    ]


def remaining(
    records: Sequence[TrialRecord],
    trials: int | None,
    forks_due: int = 0,
    exploring: bool = True,
    replicates: int = 0,
) -> int:
    """Return how many trials are still to be started or finished.

    Args:
        records: all trials of the study.
        trials: the requested number; None: no limit, so there is always one more while exploring.
        forks_due: ended trials of a population whose fork has not started.
        exploring: whether the allowance has room for new settings.
        replicates: replicates that are to start.
    """
    open_trials = sum(not record.state.finished for record in records) + forks_due + replicates
    if not exploring:
        return open_trials
    return open_trials + (1 if trials is None else max(0, trials - len(counted(records))))
