"""From a measured training to a search: the arithmetic, by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from u2pl_ray.config.schema import Config
from u2pl_ray.search.cluster.capacity import TRIAL_MEMORY, Fit
from u2pl_ray.search.driver.budget import Budget
from u2pl_ray.search.experiment import estimate as module
from u2pl_ray.search.experiment.estimate import Estimate, epoch_seconds, estimate, makespan
from u2pl_ray.search.experiment.estimate_text import remedies, search_lines, shortage, training_lines
from u2pl_ray.search.experiment.largest import largest
from u2pl_ray.search.experiment.options import Options
from u2pl_ray.search.experiment.plan import Plan
from u2pl_ray.search.samplers.registry import SamplerChoice
from u2pl_ray.search.schedulers.registry import SchedulerChoice
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.storage.place import Folder
from u2pl_ray.train.measurement import Measurement

GIB = 2**30
MEASURED = Measurement(
    device="CPU", steps=10, warmup=(1.0, 9.0, 1.0), main=(3.0, 2.0, 4.0), startup=17.0, validation=4.0, validated=1.0,
    checkpoint=0.5, images=0.75, host=2 * GIB, host_total=16 * GIB,
)  # fmt: skip
WARM, MAIN = 10 + 6, 30 + 6
"""Seconds of an epoch: steps, and 4 + 2 * 0.5 + 0.75 + 0.25."""
START = 17 + 3


@pytest.fixture
def epochs_9(base: Config) -> Config:
    """Nine epochs, one of them warm-up."""
    assert base.train.epochs == 9
    return base.model_copy(update={"method": base.method.model_copy(update={"warmup_epochs": 1})})


def planned(config: Config, space: Space, tmp_path: Path, fit: Fit | None = None, **options: Any) -> Plan:
    given: dict[str, Any] = {"trials": 4, "sampler": SamplerChoice(), "scheduler": SchedulerChoice("none")} | options
    return Plan("a", Folder(tmp_path / "a"), config, space, Options(**given), fit or Fit(2, False, ""), {})


def test_seconds_of_an_epoch(epochs_9: Config) -> None:
    assert epoch_seconds(epochs_9, MEASURED) == [WARM] + [MAIN] * 8
    assert epoch_seconds(epochs_9, MEASURED, "supervised") == [WARM] * 9
    assert epoch_seconds(epochs_9, replace(MEASURED, warmup=())) == [MAIN] * 9


def test_jobs_in_slots() -> None:
    assert makespan([3, 1, 1, 4], 2) == 6  # 3 | 1 1 4
    assert makespan([], 3) == 0


def test_trials_in_full(epochs_9: Config, space: Space, tmp_path: Path) -> None:
    """Two trials train the warm-up, the others go on from it; a supervised training is beside them."""
    found = estimate(planned(epochs_9, space, tmp_path, baselines=("supervised",)), MEASURED)
    first, later, supervised = START + WARM + 8 * MAIN, START + 8 * MAIN, START + 9 * WARM
    assert found.training == first
    assert (found.trials, found.repeats, found.epochs, found.ended) == (4, 1, 9, "")
    assert found.device_hours == pytest.approx((2 * first + 2 * later + supervised) / 3600)
    assert found.hours == pytest.approx((module._SEARCH + makespan([supervised, first, first, later, later], 2)) / 3600)


def test_what_is_searched_may_part_the_warm_ups(epochs_9: Config, tmp_path: Path) -> None:
    space = parse_space("parameters: {optim.lr: {min: 0.001, max: 0.01}}", "space.yaml")
    found = estimate(planned(epochs_9, space, tmp_path), MEASURED)
    assert found.device_hours == pytest.approx(4 * found.training / 3600)


def test_early_stopping(epochs_9: Config, space: Space, tmp_path: Path) -> None:
    """The rung is at epoch 5; of four trials 1, 1/2, 1/3 and 1/4 go on."""
    scheduler = SchedulerChoice("asha").after(1, 9)
    found = estimate(planned(epochs_9, space, tmp_path, scheduler=scheduler), MEASURED)
    on = 1 + 1 / 2 + 1 / 3 + 1 / 4
    assert found.epochs == pytest.approx((4 * 5 + 4 * on) / 4)
    assert found.device_hours == pytest.approx((4 * START + 2 * WARM + 4 * 4 * MAIN + on * 4 * MAIN) / 3600)


def test_a_budget_of_trainings(epochs_9: Config, space: Space, tmp_path: Path) -> None:
    """Of 10 trainings' worth three are for replicates, one for the baseline; 54 epochs of trials are 6.2 in full."""
    budget = Budget(trainings=10, replicating=0.3)
    found = estimate(
        planned(epochs_9, space, tmp_path, trials=None, budget=budget, baselines=("supervised",)), MEASURED
    )
    # 9 + 9 + 8 + 8 + 8 + 8 = 50 epochs: a seventh trial starts, as a search's last one does
    assert (found.trials, found.repeats) == (7, 1 + 3)


def test_replicates_of_a_number_of_trials_come_on_top(epochs_9: Config, space: Space, tmp_path: Path) -> None:
    """Explored are the baseline and (9 + 9 + 8 * 8) / 9 of ten trials, so 10.1; 3/7 of that are four replicates."""
    given: dict[str, Any] = {"trials": 10, "baselines": ("supervised",)}
    alone = estimate(planned(epochs_9, space, tmp_path, **given), MEASURED)
    found = estimate(planned(epochs_9, space, tmp_path, budget=Budget(replicating=0.3), **given), MEASURED)
    assert (alone.repeats, found.repeats) == (1, 1 + 4)
    assert found.device_hours == pytest.approx((alone.device_hours or 0) + 4 * found.training / 3600)
    assert found.hours == pytest.approx((alone.hours or 0) + 2 * found.training / 3600)


def test_hours_are_shared_with_replicates(epochs_9: Config, space: Space, tmp_path: Path) -> None:
    """Of what 20 hours of one device buy, three trainings' worth of ten are replicates; a trial is worth 8 / 9."""
    fit = Fit(1, False, "")
    alone, shared = (
        estimate(planned(epochs_9, space, tmp_path, fit, trials=None, budget=Budget(hours=20, replicating=r)), MEASURED)
        for r in (0.0, 0.3)
    )
    assert alone.trials is not None
    assert shared.trials is not None
    assert alone.repeats == 0
    assert shared.trials == pytest.approx(0.7 * alone.trials, rel=0.03)
    assert shared.repeats == pytest.approx(3 / 7 * shared.trials * 8 / 9, rel=0.02)


def test_hours_end_it(epochs_9: Config, space: Space, tmp_path: Path) -> None:
    whole = estimate(planned(epochs_9, space, tmp_path), MEASURED)
    assert whole.hours is not None
    half = estimate(planned(epochs_9, space, tmp_path, budget=Budget(hours=whole.hours / 2)), MEASURED)
    assert (half.hours, half.ended) == (whole.hours / 2, "--hours")
    assert half.trials is not None
    assert 1 <= half.trials < 4
    more = estimate(planned(epochs_9, space, tmp_path, budget=Budget(hours=2 * whole.hours)), MEASURED)
    assert more == whole


def test_device_hours_end_it(epochs_9: Config, space: Space, tmp_path: Path) -> None:
    """Two trials at once of two workers with half a GPU each use two GPUs."""
    resources = epochs_9.resources.model_copy(update={"gpus_per_worker": 0.5})
    config = epochs_9.model_copy(update={"workers": 2, "resources": resources})
    plan = planned(config, space, tmp_path, Fit(2, True, ""), trials=None, budget=Budget(device_hours=6))
    found = estimate(plan, MEASURED)
    assert (found.device_hours, found.ended) == (6, "--gpu-hours")
    assert found.hours == pytest.approx(3, abs=0.01)
    each = found.training / 3600  # of one GPU; all but the first two without the warm-up
    assert found.trials == pytest.approx(6 / each, rel=0.1)


def test_patience_alone_says_nothing(epochs_9: Config, space: Space, tmp_path: Path) -> None:
    plan = planned(epochs_9, space, tmp_path, trials=None, budget=Budget(patience=5))
    found = estimate(plan, MEASURED)
    assert (found.trials, found.hours, found.device_hours) == (None, None, None)
    assert "not known" in dict(search_lines(plan, found, None))["the search"]


def test_money(epochs_9: Config, space: Space, tmp_path: Path) -> None:
    plan = planned(epochs_9, space, tmp_path, Fit(2, True, ""))
    lines = dict(search_lines(plan, Estimate(100, 20, 6.0, 1, 12.5, 7.0), 2.4))
    assert lines["money"] == "30 at 2.4 a GPU-hour"
    assert lines["the search"].startswith("12.5 GPU-hours in 7.0 h with 2 trials at once: 20 trials, 1 replicate")
    assert lines["a trial"] == "trains 6 of 9 epochs on average, as none stops some early"


def test_a_training_in_words(epochs_9: Config) -> None:
    lines = dict(training_lines(epochs_9, MEASURED))
    assert lines["memory"] == "2 GiB a worker of 16 GiB (CPU)"
    assert lines["a step"] == "1 s on labeled images alone, 3 s with unlabeled images and a full memory bank"
    assert lines["a training"].startswith("5 min: 17 s to start, 9 epochs, 1 of them warm-up of 10 steps")
    assert "3 and 3 steps" in lines["measured"]
    part = replace(MEASURED, validated=0.4, copies=2, gpu=8 * GIB, gpu_total=80 * GIB, allocated=7 * GIB, device="X1")
    shared = epochs_9.model_copy(update={"workers": 4})
    lines = dict(training_lines(shared, part))
    assert lines["memory"] == "8 GiB a worker (7 GiB in tensors) of 80 GiB (X1) and 2 GiB of the machine's"
    for words in ("40% of the validation", "2 trainings at once", "one worker of 4"):
        assert words in lines["measured"]


def test_memory_that_does_not_suffice(epochs_9: Config) -> None:
    fits = (16 * GIB) // (2 * GIB + TRIAL_MEMORY)
    assert shortage(epochs_9, MEASURED, fits) == ""
    said = shortage(epochs_9, MEASURED, fits + 1)
    assert said.startswith(
        "6 workers at once, and the trials' own processes, take 18 GiB of memory and the machine has 16"
    )
    for words in ("train.micro_batch_size=", "data.crop", "--max-concurrent"):
        assert words in said
    gpu = replace(MEASURED, gpu=9 * GIB, gpu_total=16 * GIB)
    assert shortage(epochs_9, gpu, 100) == ""
    halves = epochs_9.resources.model_copy(update={"gpus_per_worker": 0.5})
    said = shortage(epochs_9.model_copy(update={"resources": halves}), gpu, 1)
    assert said.startswith("2 workers take 18 GiB of memory and the GPU has 16 GiB: try")
    assert "train.amp=bf16" in said
    assert "--max-concurrent" not in said
    assert "memory_bank.capacity" in remedies(epochs_9)


def test_the_largest_setting(base: Config) -> None:
    space = parse_space(
        "parameters:\n  method.memory_bank.capacity: {min: 10, max: 5000}\n"
        "  method.memory_bank.push_cap: {values: [64, null, 128]}\n"
        "  method.memory_bank.key_dtype: {values: [float32, bfloat16]}\n"
        "  model.encoder: {values: [tu-resnet10t, resnet50, resnet18]}\n  optim.lr: {min: 0.001, max: 0.01}\n",
        "space.yaml",
    )
    config = base.model_copy(update={"data": base.data.model_copy(update={"classes": ("a", "b", "c")})})
    chosen, passed = largest(space, {"optim.lr": 0.002, "method.memory_bank.capacity": 20}, config)
    assert chosen == {
        "optim.lr": 0.002,
        "method.memory_bank.capacity": 5000,
        "method.memory_bank.push_cap": None,
        "model.encoder": "resnet50",
    }
    assert passed == ["method.memory_bank.key_dtype"]
