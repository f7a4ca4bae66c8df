"""Steps that are taken to be measured. The processes around them, two workers, are in tests/cli/test_dry_run.py."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.train.conftest import tiny
from u2pl_ray.data.loaders import TrainingBatches
from u2pl_ray.train import measurement, measuring
from u2pl_ray.train.measurement import Measurement, NotMeasured, measure_training
from u2pl_ray.train.measuring import Measured


def test_the_steps_are_those_of_a_training_with_a_full_bank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_ENOUGH", 0.0)
    measured = Measured(tiny("train.steps_per_epoch=2"), 0, 1, torch.device("cpu"))
    bank = measured._worker.objective.contrast.loss.bank  # type: ignore[attr-defined]
    assert not bank.fill.any()
    taken: list[tuple[int, int, bool]] = []
    step = measured._worker.step

    def counted(number: int, loaded: measuring.TrainingBatch, forward: object) -> object:
        taken.append((number, len(loaded.unlabeled_images), bool((bank.fill == bank.capacity).all())))
        return step(number, loaded, forward)

    monkeypatch.setattr(measured._worker, "step", counted)
    found = measured.results()
    assert torch.equal(bank.fill, bank.capacity)
    assert torch.allclose(bank.keys[:-1].norm(dim=1), torch.ones(len(bank.keys) - 1), atol=1e-5)
    warmup, main = [it for it in taken if it[0] == 0], [it for it in taken if it[0] == 2]
    assert warmup + main == taken
    assert set(warmup) == {(0, 0, False)}
    assert set(main) == {(2, 8, True)}
    assert len(found["warmup"]) == len(found["main"]) == measuring._LEAST == len(main) - 1
    assert (found["steps"], found["validated"]) == (2, 1.0)
    assert min(*found["warmup"], *found["main"], found["validation"], found["checkpoint"], found["images"]) > 0
    assert 2**26 < found["host"] < found["host_total"]


def test_what_images_in_memory_will_take(tmp_path: Path) -> None:
    """A quarter of the images was read, and all are alike."""
    batches = TrainingBatches(tiny("train.batch_size=2", "train.unlabeled_batch_size=2", "train.steps_per_epoch=20"))
    assert (batches.cache.to_come, batches.cache.holds_all) == (0, False)
    for _ in batches.epoch(0, unlabeled=False):
        pass
    each = 64 * 64 * (3 + 1)
    assert (batches.cache.to_come, batches.cache.holds_all) == (12 * each, True)
    for _ in batches.epoch(1):
        pass
    assert batches.cache.to_come == 0
    batches.cache._free = 0
    assert batches.cache.to_come == 0


def test_loader_processes_keep_no_images() -> None:
    batches = TrainingBatches(tiny("data.loader_workers=1"))
    assert (batches.cache.to_come, batches.cache.holds_all) == (0, False)


def module(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start this program in place of the measuring one."""
    (folder / "stand_in.py").write_text(body)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr(measurement, "_MODULE", "stand_in")


@pytest.mark.parametrize(
    ("body", "words", "memory"),
    [
        ("import os; os.kill(os.getpid(), 9)", "a worker ran out of memory", True),
        ("raise MemoryError('CUDA out of memory')", "a worker ran out of memory", True),
        ("print('ready'); raise ValueError('bad')", "a worker failed: ValueError: bad", False),
        ("raise SystemExit(3)", "a worker failed: its process ended with 3", False),
        ("import time; time.sleep(100)", "longer than", False),
    ],
)
def test_a_process_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, words: str, memory: bool
) -> None:
    module(tmp_path, body, monkeypatch)
    if "sleep" in body:
        monkeypatch.setattr(measurement, "_PATIENCE", 0.5)
    with pytest.raises(NotMeasured, match=words) as caught:
        measure_training(tiny(), gpu=False)
    assert caught.value.memory == memory


def test_a_worker_alone_has_its_share_of_the_batch() -> None:
    config = tiny("workers=2", "train.steps_per_epoch=null", "train.batch_size=4", "train.unlabeled_batch_size=8")
    share = measurement._share(config)
    assert (share.workers, share.train.batch_size, share.train.unlabeled_batch_size) == (1, 2, 4)
    assert share.train.steps_per_epoch == 2  # twelve unlabeled images, eight a step


def test_workers_are_merged() -> None:
    def row(seconds: float, validation: float, host: int) -> dict[str, object]:
        return {
            "device": "CPU", "steps": 5, "warmup": [seconds], "main": [2 * seconds, 3 * seconds], "startup": 6.0,
            "first": seconds, "validation": validation, "validated": 1.0, "checkpoint": 0.5, "images": 0.1,
            "host": host, "host_total": 100,
        }  # fmt: skip

    rows = [row(1.0, 2.0, 10), row(9.0, 4.0, 12), row(3.0, 8.0, 11), row(9.0, 6.0, 9)]
    found = measurement._merge(rows, workers=2, copies=2)
    assert found == Measurement(
        "CPU", 5, (1.0, 3.0), (2.0, 3.0, 6.0, 9.0), 8.0, 6.0, 1.0, 0.5, 0.1, 12, 100, workers=2, copies=2
    )  # fmt: skip
    assert (found.warmup_step, found.main_step, found.memory) == (2.0, 4.5, 12)
    assert found.spread == pytest.approx((6.75 - 2.75) / 2 / 4.5)
    assert replace(found, gpu=40, gpu_total=80).memory_total == 80
