"""A study as schedulers see it: the trials that compete, by the first objective."""

from collections.abc import Container
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from u2pl_ray.search.study.companion import COMPANION


class Competing:
    """View of a study without companions, and with one objective: Optuna's pruners accept no more.

    Args:
        study: read anew at every call.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self.direction, self.directions = study.directions[0], study.directions[:1]

    def get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, **options: Any
    ) -> list[FrozenTrial]:
        """Return the trials that compete; see `optuna.Study.get_trials`.

        Args:
            deepcopy: return copies.
            states: only trials in these.
            options: passed on.
        """
        return competing(self._study.get_trials(deepcopy, states, **options))


def competing(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials of a study that are no companions."""
    return [trial for trial in trials if COMPANION not in trial.user_attrs]
