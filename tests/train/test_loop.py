import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.conftest import folder_of, tiny, without_timing
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.methods import METHODS
from u2pl_ray.config.schema import Config
from u2pl_ray.data.check import check
from u2pl_ray.train import checkpoint
from u2pl_ray.train.errors import NonFiniteLoss
from u2pl_ray.train.loop import Worker
from u2pl_ray.train.session import LocalSession

CPU = torch.device("cpu")
FIRST_STEP = ["method.warmup_epochs=0", "train.epochs=1", "train.steps_per_epoch=1"]


def train(config: Config, folder: Path | None = None, reported: int = 0) -> tuple[Worker, list[dict[str, Any]]]:
    reports: list[dict[str, Any]] = []
    worker = Worker(config, LocalSession(folder, reports.append), CPU)
    worker.run(reported)
    return worker, reports


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Every leaf of a checkpoint by its path."""
    if isinstance(tree, dict):
        return {k: v for key, value in tree.items() for k, v in flat(value, f"{prefix}/{key}").items()}
    if isinstance(tree, list):
        return {k: v for i, value in enumerate(tree) for k, v in flat(value, f"{prefix}/{i}").items()}
    return {prefix: tree}


def assert_same_state(one: dict[str, Any], other: dict[str, Any]) -> None:
    left, right = flat(one), flat(other)
    assert left.keys() == right.keys()
    for path, value in left.items():
        if "/perf/" in path or path.endswith("checkpoint_path"):
            continue
        same = torch.equal(value, right[path]) if isinstance(value, torch.Tensor) else value == right[path]
        assert same, path


@pytest.fixture(scope="module")
def whole() -> tuple[Worker, list[dict[str, Any]]]:
    """The training of `tiny()`, never stopped."""
    return train(tiny())


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_and_reports_what_the_design_lists(name: str) -> None:
    # In three epochs no prediction is as confident as fixmatch and unimatch ask for by themselves.
    _, reports = train(tiny(f"method.name={name}", "method.reliability.confidence=0"))
    assert [report["training_iteration"] for report in reports] == [1, 2, 3]
    last = reports[-1]
    assert {"val/miou", "val/teacher/miou", "train/loss/total", "train/loss/supervised", "train/lr"} <= last.keys()
    assert 0.0 < last["val/miou"] <= 1.0
    traits = METHODS[name]
    assert ("diag/gamma" in last) == traits.semi_supervised
    assert any(key.startswith("diag/bank/fill/") for key in last) == traits.contrasts
    assert reports[0]["train/loss/unsupervised"] == 0.0  # the warm-up epoch
    assert (last["train/loss/unsupervised"] > 0.0) == traits.semi_supervised
    assert (last["train/loss/contrastive"] > 0.0) == traits.contrasts
    images = [report["perf/images_per_second"] * report["perf/step_seconds"] for report in reports]  # of a step
    assert images == pytest.approx([4, 12, 12] if traits.semi_supervised else [4, 4, 4])


def test_the_oracle_is_supervised_on_all_images(tmp_path: Path) -> None:
    """As many steps and images a step as the others; the sum of both splits is what it draws from."""
    worker, reports = train(tiny("method.name=oracle"))
    plain = Worker(tiny("method.name=supervised"), LocalSession(), CPU)
    assert worker.steps == plain.steps == 2
    drawn = [draw for step in range(2) for draw in worker.train_data._sampler._labeled.draws(0, step, 0, 1)]
    assert worker.train_data._sampler._labeled.size == 8 + 12
    assert len(drawn) == 2 * 4
    assert (
        max(draw.item for epoch in range(9) for draw in worker.train_data._sampler._labeled.draws(epoch, 0, 0, 1)) > 8
    )
    assert all(report["train/loss/unsupervised"] == 0.0 for report in reports)


def test_the_oracle_is_refused_where_an_image_has_no_label(tmp_path: Path) -> None:
    config = tiny("method.name=oracle")
    root = tmp_path / "copy"
    shutil.copytree(config.data.root, root)
    (root / "SegmentationClass/unlabeled_0003.png").unlink()
    bare = config.model_copy(update={"data": config.data.model_copy(update={"root": str(root), "dataset": "voc"})})
    for start in (lambda: train(bare), lambda: check(bare, full=False)):
        with pytest.raises(UserError, match=r"method\.name=oracle .*1 of 12 have none \(such as 'unlabeled_0003'\)"):
            start()


def test_two_runs_are_bit_identical(whole: tuple[Worker, list[dict[str, Any]]]) -> None:
    (one, first), (two, second) = whole, train(tiny())
    assert [without_timing(report) for report in first] == [without_timing(report) for report in second]
    assert_same_state(one.state(), two.state())


def test_another_seed_is_another_training() -> None:
    _, (first,) = train(tiny(*FIRST_STEP))
    _, (second,) = train(tiny(*FIRST_STEP, "seed=1"))
    assert first["train/loss/total"] != second["train/loss/total"]


@pytest.mark.parametrize("stop_after", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_continued_equals_never_stopped(
    tmp_path: Path, whole: tuple[Worker, list[dict[str, Any]]], stop_after: int
) -> None:
    never_stopped, reports = whole

    class Stopped(Exception):
        pass

    seen: list[dict[str, Any]] = []

    def stop(metrics: dict[str, Any]) -> None:
        seen.append(metrics)
        if len(seen) == stop_after:
            raise Stopped

    with pytest.raises(Stopped):
        Worker(tiny(), LocalSession(tmp_path, stop), CPU).run()
    continued, rest = train(tiny(), tmp_path, reported=stop_after)
    assert [without_timing(r) for r in seen + rest] == [without_timing(r) for r in reports]
    assert_same_state(continued.state(), never_stopped.state())


def test_its_folder(tmp_path: Path) -> None:
    """Epochs the caller missed are reported again without training; old checkpoints go; weights_only reads the rest."""
    _, reports = train(tiny(), tmp_path)
    _, again = train(tiny(), tmp_path, reported=1)
    assert [without_timing(r) for r in again] == [without_timing(r) for r in reports[1:]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch_00002", "epoch_00003"]
    state = torch.load(folder_of(tmp_path, 3) / checkpoint.FILE, weights_only=True)
    assert state["epochs_done"] == 3
    assert state["objective"]["memory_bank"]


def test_divergence_is_named() -> None:
    with pytest.raises(NonFiniteLoss, match="epoch"):
        train(tiny("optim.lr=1e30", "method.name=supervised"))


def test_learning_rates_follow_the_polynomial() -> None:
    config = tiny("optim.lr=0.01", "optim.head_multiplier=10", "method.name=supervised")
    worker, reports = train(config)
    total = 3 * 2
    expected = [0.01 * (1 - done / total) ** 0.9 for done in (2, 4, 6)]
    assert [report["train/lr"] for report in reports] == pytest.approx(expected)
    assert [group["initial_lr"] for group in worker.optimizer.param_groups] == pytest.approx([0.01, 0.1])


@pytest.mark.parametrize(
    ("option", "tolerance"),
    [
        ("train.channels_last=true", 1e-3),
        ("train.amp=bf16", 0.1),
        pytest.param("train.compile=true", 1e-3, marks=pytest.mark.slow),
    ],
)
def test_numerical_options_give_the_same_losses(option: str, tolerance: float) -> None:
    """On the first step, from equal weights; later ones amplify rounding."""
    _, (plain,) = train(tiny(*FIRST_STEP))
    worker, (changed,) = train(tiny(*FIRST_STEP, option))
    for term in ("supervised", "unsupervised", "contrastive"):
        assert changed[f"train/loss/{term}"] == pytest.approx(plain[f"train/loss/{term}"], rel=tolerance)
    assert all(parameter.dtype == torch.float32 for parameter in worker.student.parameters())
