import math

import pytest
import torch
from torch import Tensor, nn

from tests.train.conftest import tiny
from u2pl_ray.data.loaders import EvaluationBatches
from u2pl_ray.models.segmentor import Outputs
from u2pl_ray.train.evaluate import best_so_far, confusion, iou, scores


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
