"""With few classes the paper's rank window leaves nothing; with what the check proposes the contrastive loss lives."""

import re

import pytest
import torch

from tests.train.conftest import tiny
from u2pl_ray.config.checks import check_classes
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.method import MethodConfig
from u2pl_ray.config.overrides import merge, parse_overrides, validate
from u2pl_ray.config.schema import Config
from u2pl_ray.data.registry import resolve
from u2pl_ray.train.loop import Worker
from u2pl_ray.train.session import LocalSession


def last_epoch(config: Config) -> dict[str, float]:
    reports: list[dict[str, float]] = []
    Worker(config, LocalSession(on_report=reports.append), torch.device("cpu")).run()
    return reports[-1]


@pytest.mark.parametrize("classes", [pytest.param(3, marks=pytest.mark.slow), 5])
def test_contrastive_loss_is_alive_with_the_proposed_ranks(classes: int) -> None:
    paper = ["method.contrastive.low_rank=3", "method.contrastive.high_rank=20", "method.mixing.kind=cutmix"]
    data = [f"data.synthetic.classes={classes}", "train.epochs=3", "train.steps_per_epoch=4"]
    proposed = ["method.contrastive.low_rank=2", f"method.contrastive.high_rank={classes}"]
    if classes == 3:  # refused, and the refusal says what would do
        with pytest.raises(UserError) as caught:
            check_classes(tiny(*data, *proposed).model_copy(update={"method": tiny(*paper).method}), classes)
        proposed = re.findall(r"method\.contrastive\.\w+=\d+", str(caught.value))[1:]
    config = tiny(*data, *proposed)
    last = last_epoch(config)
    assert last["train/loss/contrastive"] > 0.1
    for name in config.data.classes:
        assert last[f"diag/bank/fill/{name}"] > 0, name
        assert last[f"diag/negatives/missing/{name}"] == 0.0, name
    # Not only hard confusions among labeled pixels: in the one step that is the same but for alpha, unreliable ones
    # give keys too.
    once = [*data[:1], *proposed, "train.epochs=2", "train.steps_per_epoch=1"]
    pushed, labeled_only = (
        sum(last_epoch(tiny(*once, alpha))[f"diag/bank/pushed/{name}"] for name in config.data.classes)
        for alpha in ("method.alpha.start=0.2", "method.alpha.start=0")
    )
    assert pushed > labeled_only
    assert last["diag/negatives/false_rate"] < 1 / classes


@pytest.mark.parametrize("classes", [2, *(pytest.param(count, marks=pytest.mark.slow) for count in (3, 5))])
def test_contrastive_loss_is_alive_with_every_default_of_the_method(classes: int) -> None:
    small = ["data.crop=32", "train.epochs=3", "train.steps_per_epoch=4", "train.batch_size=4"]
    small += ["train.unlabeled_batch_size=8", "model.encoder=tu-resnet10t", "model.representation_dim=16"]
    images = {"size": 64, "classes": classes, "labeled": 8, "unlabeled": 12, "val": 2, "test": 2}
    tree = merge({"data": {"dataset": "synthetic", "synthetic": images}}, parse_overrides([*small, "optim.lr=0.02"]))
    config = resolve(validate(tree))
    assert config.method == MethodConfig()
    last = last_epoch(config)
    assert last["train/loss/contrastive"] > 0.1
    for name in config.data.classes:
        assert last[f"diag/bank/fill/{name}"] > 0, name
        assert last[f"diag/negatives/missing/{name}"] == 0.0, name
