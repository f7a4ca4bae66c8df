"""A setting of which trainings diverged on new seeds is called better than no other method."""

from collections.abc import Collection
from dataclasses import replace

import pytest

from u2pl_ray.config.schema import Config
from u2pl_ray.search.experiment.verdict import against
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.study.companion import Companion, Kind
from u2pl_ray.search.study.comparison import compare
from u2pl_ray.search.study.judgement import Judgement
from u2pl_ray.search.study.trial_record import State, TrialRecord

TEMPERATURE = "method.contrastive.temperature"
SPACE = f"""
metric: {{name: val/miou, goal: maximize}}
parameters: {{{TEMPERATURE}: {{min: 0.1, max: 1.0}}}}
"""
SEEDS = (1001, 1002, 1003)


def judged(base: Config, diverged: Collection[tuple[int, int]]) -> Judgement:
    """The paper's setting (0000, about 0.6) and supervised training (0001, about 0.4), each on three new seeds too.

    Those of `diverged` (0 or 1, seed) diverged.
    """
    supervised = {"method.name": "supervised"}
    records: list[TrialRecord] = []

    def add(value: float, companion: Companion | None, note: str = "", params: dict[str, float] | None = None) -> None:
        lost = companion is not None and (companion.of, companion.changes.get("seed")) in diverged
        number, epochs = len(records), base.train.epochs
        values = {epoch: value - 0.01 * (epochs - epoch) for epoch in range(1, 2 if lost else epochs + 1)}
        state = State.FAILED if lost else State.COMPLETED
        record = TrialRecord(f"{number:04d}", number, state, params or {}, values, note=note, companion=companion)
        if lost:
            records.append(replace(record, reason="nan"))
        else:
            records.append(replace(record, value=value, objectives=(value,)))

    add(0.6, None, "paper", {TEMPERATURE: 0.5})
    add(0.4, Companion(Kind.BASELINE, supervised), "supervised")
    for number, temperature in enumerate((0.2, 0.3, 0.4, 0.6, 0.7, 0.8)):
        add(0.6 + 0.004 * (-1) ** number, None, params={TEMPERATURE: temperature})
    for number, seed in enumerate(SEEDS):
        add(0.6 + 0.003 * (-1) ** number, Companion(Kind.REPLICATE, {"seed": seed}, 0), params={TEMPERATURE: 0.5})
        add(0.4 - 0.002 * (-1) ** number, Companion(Kind.REPLICATE, {**supervised, "seed": seed}, 1))
    return Judgement(parse_space(SPACE, "s"), base, records)


@pytest.mark.parametrize(
    ("diverged", "words"),
    [
        ((), ""),
        ([(0, 1002), (0, 1003)], "2 of 0000 diverged on new seeds, so neither is called better"),
        ([(1, 1003)], "1 of supervised training diverged on new seeds, so neither is called better"),
        ([(0, 1002), (1, 1003)], "1 of 0000 and 1 of supervised training diverged on new seeds"),
    ],
)
def test_what_diverged_is_counted(base: Config, diverged: Collection[tuple[int, int]], words: str) -> None:
    judgement = judged(base, diverged)
    told = compare(judgement, "supervised", "0000")
    assert told is not None
    assert told.probability > 0.95
    assert told.better == (not diverged)
    assert words in (said := against(told, "supervised training", judgement.space.metric))
    assert ("diverged" in said) == bool(diverged)
