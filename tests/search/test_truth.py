"""What the sampler is told, against what the trials and Ray Tune recorded, over a whole search on a real local Ray."""

from pathlib import Path
from typing import Any

import pytest
from fake_training import DIVERGES, RAISES, REPORTS_NAN, TOO_LARGE, miou
from optuna.trial import FrozenTrial, TrialState

from u2pl_ray.config.schema import Config
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.study.trial_record import TrialRecord

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.usefixtures("ray_cluster")]

SPACE = f"""
parameters:
  method.contrastive.temperature: {{distribution: log_uniform_values, min: 0.05, max: 2.0}}
  method.contrastive.low_rank: {{min: 1, max: 6}}
  method.contrastive.high_rank: {{min: 4, max: 8}}
  method.alpha.end: {{values: {[0.0, RAISES, DIVERGES, TOO_LARGE, REPORTS_NAN]}}}
"""
ACCIDENTS = {RAISES: "error", DIVERGES: "nan", REPORTS_NAN: "nan", TOO_LARGE: "memory"}
EPOCHS = 9


def case(temperature: float, end: float, low_rank: int = 2) -> dict[str, Any]:
    return {
        "method.contrastive.temperature": temperature,
        "method.contrastive.low_rank": low_rank,
        "method.contrastive.high_rank": 6,
        "method.alpha.end": end,
    }


def expected_end(record: TrialRecord, epochs: list[dict[str, Any]]) -> tuple[TrialState, str]:
    """How a trial of these settings must have ended, from its settings and its epochs on disk."""
    end = record.params["method.alpha.end"]
    if record.params["method.contrastive.low_rank"] >= record.params["method.contrastive.high_rank"]:
        return TrialState.FAIL, "invalid"
    if end in ACCIDENTS:
        return TrialState.FAIL, ACCIDENTS[end]
    return (TrialState.COMPLETE if len(epochs) == EPOCHS else TrialState.PRUNED), ""


def test_optuna_holds_what_trials_and_tune_recorded(
    tmp_path: Path, base: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty trials under ASHA: some raise, some diverge or report NaN, some are out of memory or not valid."""
    from ray import tune

    tuned: list[Any] = []
    fit = tune.Tuner.fit
    monkeypatch.setattr(tune.Tuner, "fit", lambda tuner: tuned.append(fit(tuner)))
    plan = plan_search(
        base,
        parse_space(SPACE, "s"),
        name="a",
        trials=20,
        storage_path=tmp_path,
        sampler_options={"n_startup_trials": 8},
        scheduler="asha",
        scheduler_options={"grace": 2, "factor": 3},
        trainer="fake_training:build_plain",
    )
    made = plan.create()
    for end in ACCIDENTS:
        made.study().enqueue(case(0.5, end), "case")
    made.study().enqueue(case(0.5, 0.0, low_rank=6), "case")
    made.study().enqueue(case(0.06, 0.0), "case")
    summary = made.run()
    assert summary.finished

    told: dict[str, FrozenTrial] = {f"{trial.number:04d}": trial for trial in made.study().study.trials}
    records = {record.id: record for record in summary.trials}
    assert told.keys() == records.keys()
    assert sum(record.reason != "invalid" for record in records.values()) == 20
    for trial, record in records.items():
        epochs = made.epochs(trial)
        state, reason = expected_end(record, epochs)
        assert (told[trial].state, record.reason) == (state, reason), trial
        values = {row["training_iteration"]: row["val/miou"] for row in epochs if row["val/miou"] is not None}
        assert told[trial].intermediate_values == values
        if state == TrialState.FAIL:
            assert told[trial].value is None
            assert len(values) <= 1  # the accident comes in the second epoch: nothing runs on after it
        else:
            config = made.space.configure(made.config, record.params)
            assert told[trial].value == values[len(values)] == pytest.approx(miou(config, len(values)))
        if state == TrialState.PRUNED:
            assert len(values) in (2, 6)  # the rungs
    kinds = [record.reason or told[trial].state.name for trial, record in records.items()]
    assert {"COMPLETE", "PRUNED", "error", "nan", "memory", "invalid"} <= set(kinds)

    # Ray Tune's records: what it ran, and the last thing each of its trials said.
    (grid,) = tuned
    said = {result.config["trial"]: result.metrics for result in grid}
    assert said.keys() == {trial for trial, record in records.items() if record.reason != "invalid"}
    assert grid.num_errors == 0
    for trial, last in said.items():
        outcome = last.get("outcome")
        if told[trial].state == TrialState.COMPLETE:
            assert outcome == ["COMPLETED", "", ""]
        elif told[trial].state == TrialState.PRUNED or records[trial].params["method.alpha.end"] == REPORTS_NAN:
            assert outcome is None  # Tune stopped it upon a report
            assert last["training_iteration"] == 2 or told[trial].state == TrialState.PRUNED
        else:
            assert outcome[1] == records[trial].reason
    infeasible = [record.params for record in records.values() if record.reason in ("memory", "invalid")]
    assert all(infeasible.count(params) == 1 for params in infeasible)
