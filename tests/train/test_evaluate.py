import math
import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, jaccard_score
from torch import Tensor, nn

from tests.train.conftest import tiny
from u2pl_ray.data.loaders import EvaluationBatches
from u2pl_ray.models.segmentor import Outputs
from u2pl_ray.train.evaluate import best_so_far, confusion, count_pairs, iou, scores
from u2pl_ray.train.loop import Worker
from u2pl_ray.train.session import LocalSession


class Constant(nn.Module):
    """Says `label` everywhere."""

    def __init__(self, label: int, classes: int) -> None:
        super().__init__()
        self.label, self.classes = label, classes

    def forward(self, images: Tensor) -> Outputs:
        shape = (len(images), self.classes, images.shape[2] // 4, images.shape[3] // 4)
        logits = torch.zeros(shape)
        logits[:, self.label] = 1.0
        return Outputs(logits, None)


def test_iou_by_hand() -> None:
    # rows: truth. Class 0: 3 right, 1 called 1. Class 1: 2 right. Class 2 never shown, but predicted once for class 1.
    matrix = torch.tensor([[3, 1, 0], [0, 2, 1], [0, 0, 0]])
    values = iou(matrix)
    assert values[0] == pytest.approx(3 / 4)
    assert values[1] == pytest.approx(2 / 4)
    assert math.isnan(values[2])
    result = scores(matrix, ["a", "b", "c"])
    assert result == pytest.approx({"val/miou": 0.625, "val/iou/a": 0.75, "val/iou/b": 0.5})
    assert scores(matrix, ["a", "b", "c"], teacher=True).keys() == {
        "val/teacher/miou",
        "val/teacher/iou/a",
        "val/teacher/iou/b",
    }


LABELS = {
    "random": lambda rng: rng.integers(0, 7, 4000),
    "classes that no label shows": lambda rng: rng.choice([0, 3, 4], 4000),
    "one class": lambda rng: np.full(4000, 2),
    "half of it ignored": lambda rng: np.where(rng.random(4000) < 0.5, 255, rng.integers(0, 7, 4000)),
    "one pixel": lambda rng: np.where(np.arange(4000) == 17, 6, 255),
    "all of it ignored": lambda rng: np.full(4000, 255),
}
PREDICTIONS = {
    "random": lambda rng, labels: rng.integers(0, 7, 4000),
    "right": lambda rng, labels: np.where(labels == 255, 0, labels),
    "mostly right": lambda rng, labels: np.where(rng.random(4000) < 0.8, labels % 7, rng.integers(0, 7, 4000)),
    "one class": lambda rng, labels: np.full(4000, 5),
}


@pytest.mark.parametrize("predicts", PREDICTIONS)
@pytest.mark.parametrize("shows", LABELS)
def test_scores_are_those_of_scikit_learn(shows: str, predicts: str) -> None:
    rng = np.random.default_rng(len(shows) + len(predicts))
    labels = LABELS[shows](rng)
    predicted = PREDICTIONS[predicts](rng, labels)
    matrix = count_pairs(torch.tensor(labels, dtype=torch.uint8), torch.tensor(predicted, dtype=torch.uint8), 7)
    counted = labels != 255
    found = scores(matrix, [str(index) for index in range(7)])
    if not counted.any():
        assert found == {"val/miou": 0.0}
        assert not matrix.any()
        return
    pairs = labels[counted], predicted[counted]
    assert (matrix.numpy() == confusion_matrix(*pairs, labels=range(7))).all()
    shown = np.unique(pairs[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = jaccard_score(*pairs, labels=shown, average=None, zero_division=0)
    assert found == pytest.approx(
        {
            "val/miou": expected.mean(),
            **{f"val/iou/{index}": value for index, value in zip(shown, expected, strict=True)},
        }
    )


def test_counts_are_exact_beyond_what_a_float_holds() -> None:
    matrix = torch.tensor([[2**40, 1], [0, 2**24 + 1]])
    assert scores(matrix, ["a", "b"])["val/iou/b"] == pytest.approx((2**24 + 1) / (2**24 + 2), abs=1e-12)


def test_a_training_validates_by_windows_if_it_is_told_to() -> None:
    whole, windows = (
        Worker(tiny(*settings), LocalSession(), torch.device("cpu")).evaluate()["val/confusion"]
        for settings in ((), ("evaluation.window=32",))
    )
    assert whole != windows
    assert np.sum(whole) == np.sum(windows) == 5 * 64 * 64


@pytest.mark.parametrize("batch", [1, 3])
def test_every_pixel_of_every_image_is_counted_once_over_any_number_of_workers(batch: int) -> None:
    config = tiny(f"train.eval_batch_size={batch}")
    classes = len(config.data.classes)
    expected = torch.zeros(classes, dtype=torch.int64)
    for loaded in EvaluationBatches(config, "val"):
        labels = loaded.labels[loaded.labels != 255]
        expected += torch.bincount(labels.long(), minlength=classes)
    for world_size in (1, 2, 4):
        total = torch.zeros(classes, classes, dtype=torch.int64)
        for rank in range(world_size):
            batches = EvaluationBatches(config, "val", rank, world_size)
            total += confusion([Constant(1, classes)], batches, classes, torch.device("cpu"))[0]
        assert torch.equal(total.sum(1), expected)
        assert total[:, 1].sum() == expected.sum() == 5 * 64 * 64


def test_modes_are_restored() -> None:
    config = tiny()
    model = Constant(0, len(config.data.classes)).train()
    confusion([model], EvaluationBatches(config, "val"), len(config.data.classes), torch.device("cpu"))
    assert model.training


def test_best_so_far_is_of_student_and_teacher_each_by_itself() -> None:
    rows = [(0.1, 0.5), (0.3, 0.2), (0.3, 0.4)]
    history = [
        {"val/miou": student, "val/teacher/miou": teacher, "training_iteration": number}
        for number, (student, teacher) in enumerate(rows, 1)
    ]
    assert best_so_far(history) == {
        "val/best_miou": 0.3,
        "val/best_epoch": 2,
        "val/teacher/best_miou": 0.5,
        "val/teacher/best_epoch": 1,
    }
