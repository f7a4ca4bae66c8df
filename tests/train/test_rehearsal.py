import pytest
import torch

from tests.train.conftest import tiny
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.evaluation import EvaluationConfig
from u2pl_ray.config.schema import Config, ModelConfig
from u2pl_ray.train.rehearsal import rehearse

ONE = ("train.batch_size=1", "train.unlabeled_batch_size=2")


def windows(crop: int) -> Config:
    """Swin takes images of 224 x 224 alone."""
    config = tiny(f"data.crop={crop}", "method.name=supervised", "train.batch_size=2")
    model = ModelConfig(architecture="FPN", encoder="tu-swin_tiny_patch4_window7_224")
    return config.model_copy(update={"model": model})


@pytest.mark.parametrize("method", ["supervised", "oracle", "pseudo_label", "u2pl"])
def test_what_trains_is_accepted(method: str) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    rehearse(tiny(f"method.name={method}"))
    assert torch.equal(torch.rand(1), expected), "the global generator moved"


@pytest.mark.parametrize(
    "overrides",
    [
        ONE,
        (*ONE, "method.name=supervised"),
        ("workers=2", "train.batch_size=2", "train.unlabeled_batch_size=4"),
        ("workers=1..2", "train.batch_size=2", "train.unlabeled_batch_size=4"),
    ],
)
def test_batchnorm_of_one_image_is_refused(overrides: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=r"train\.batch_size=\d over workers=\d.*model\.normalization=group"):
        rehearse(tiny(*overrides))
    rehearse(tiny(*overrides, "model.normalization=group"))


@pytest.mark.parametrize("parts", ["null", "1"])
def test_gpu_workers_of_one_image_share_their_statistics(parts: str) -> None:
    two = ("workers=2", "train.batch_size=2", "train.unlabeled_batch_size=4", f"train.micro_batch_size={parts}")
    rehearse(tiny(*two, "resources.device=cuda"))
    with pytest.raises(UserError, match="too few for the statistics of BatchNorm"):
        rehearse(tiny(*two, "resources.device=cpu"))
    with pytest.raises(UserError, match="too few for the statistics of BatchNorm"):
        rehearse(tiny(*ONE, "resources.device=cuda", f"train.micro_batch_size={parts}"))


def test_parts_of_one_image_are_refused_where_one_worker_may_be_left() -> None:
    with pytest.raises(UserError, match=r"train\.micro_batch_size=1: a part"):
        rehearse(tiny("workers=1..2", "train.micro_batch_size=1", "resources.device=cuda"))


def test_one_image_without_a_warm_up_is_accepted() -> None:
    """Labeled and unlabeled images go through the student together."""
    rehearse(tiny(*ONE, "method.warmup_epochs=0", "data.crop=64"))


@pytest.mark.parametrize(("size", "labeled", "fits"), [(1, 4, False), (2, 3, False), (2, 4, True), (3, 5, True)])
def test_a_part_of_one_image_is_too_few_for_batchnorm(size: int, labeled: int, fits: bool) -> None:
    parts = (f"train.micro_batch_size={size}", f"train.batch_size={labeled}")
    if fits:
        rehearse(tiny(*parts))
        return
    with pytest.raises(UserError, match=rf"train\.micro_batch_size={size}: a part .* one image.*normalization=group"):
        rehearse(tiny(*parts))
    rehearse(tiny(*parts, "model.normalization=group"))


def test_another_failure_names_the_model() -> None:
    with pytest.raises(UserError, match=r"model: a step of the warm-up fails with FPN, tu-swin_tiny.*Input"):
        rehearse(windows(64))


@pytest.mark.slow
def test_what_fails_on_small_crops_alone_is_accepted_and_evaluated_by_windows() -> None:
    with pytest.raises(UserError, match=r"evaluation\.window=null: tu-swin.*Input.*; set evaluation\.window=224,"):
        rehearse(windows(224))
    rehearse(windows(224).model_copy(update={"evaluation": EvaluationConfig(window=224)}))


def test_adamw_and_a_frozen_encoder() -> None:
    rehearse(tiny("optim.name=adamw", "model.freeze_encoder=true", "optim.layer_decay=0.7"))
