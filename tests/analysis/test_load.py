import math

import pandas as pd

from u2pl_ray.analysis import load
from u2pl_ray.search.experiment.experiment import Experiment


def test_trials_have_a_row_each_with_settings_and_metrics(searched: Experiment) -> None:
    trials = load(str(searched.folder)).trials
    assert list(trials.trial) == [f"{number:04d}" for number in range(5)]
    assert trials.best.sum() == 1
    best = trials[trials.best].iloc[0]
    assert best.value == trials[trials.state == "COMPLETED"].value.max()
    assert best["val/miou"] == best.value
    assert trials.note[0] == "paper"
    assert trials["method.contrastive.temperature"].between(0.1, 1.0).all()
    assert trials["method.alpha.kind"].isin(["linear", "cosine"]).all()
    assert (trials.seconds > 0).all()
    assert not [column for column in trials if str(column).endswith("striped_disc")]


def test_curves_and_diagnostics_are_what_was_reported(searched: Experiment) -> None:
    mine = load(str(searched.folder))
    long = pd.concat([mine.curves, mine.diagnostics])
    assert not long.duplicated(["trial", "epoch", "metric", "class"]).any()
    assert set(mine.diagnostics.metric.str.split("/").str[0]) == {"diag"}
    for trial in mine.epochs:
        for row in searched.epochs(trial):
            rows = long[(long.trial == trial) & (long.epoch == row["training_iteration"])]
            found = {
                f"{metric}/{kind}" if kind else metric: value
                for metric, kind, value in rows[["metric", "class", "value"]].itertuples(index=False)
            }
            numbers = {key: value for key, value in row.items() if "/" in key and isinstance(value, int | float)}
            assert found == numbers


def test_histograms_cover_the_entropies(searched: Experiment) -> None:
    mine = load(str(searched.folder))
    histograms = mine.histograms
    assert set(histograms.pixels) == {"all", "right", "wrong"}
    one = histograms[(histograms.trial == "0000") & (histograms.epoch == 3)]
    sums = one.groupby("pixels")["count"].sum()
    assert sums["all"] == sums["right"] + sums["wrong"]
    assert one.low.min() == 0
    assert math.isclose(one.high.max(), math.log(6))


def test_a_search_without_trials_is_empty_tables(empty: Experiment) -> None:
    mine = load(str(empty.folder))
    assert list(mine.trials.state) == ["PENDING"]  # the paper's setting is queued
    assert mine.curves.empty
    assert mine.diagnostics.empty
    assert mine.histograms.empty
    assert mine.best is None
