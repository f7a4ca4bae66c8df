"""A shared warm-up: what goes on from another training's is, bit for bit, what trains its own."""

from pathlib import Path

import pytest

from tests.train.conftest import folder_of, tiny, without_timing
from tests.train.test_loop import CPU, assert_same_state, train
from u2pl_ray.search.trials.warmups import warmup_key
from u2pl_ray.train.errors import Preempted
from u2pl_ray.train.loop import Worker
from u2pl_ray.train.session import LocalSession

LATER = {
    "loss": [
        *("method.contrastive.temperature=0.1", "method.contrastive.weight=0.7", "method.contrastive.negatives=4"),
        *("method.memory_bank.capacity=16", "method.alpha.start=0.5", "method.alpha.kind=cosine"),
        *("method.unsupervised_weight=0.2", "method.unsupervised_rampup=0.5", "method.balance.weight_power=0.5"),
        "method.teacher_horizon=0.3",
    ],
    "labels": [
        *("method.strong_view.use=false", "method.mixing.kind=cutmix", "method.mixing.probability=0.5"),
        *("method.reliability.per_class=true", "method.reliability.judged_on=weak"),
        *("method.teacher_momentum=0.5", "method.balance.alignment=0.5"),
        *("method.balance.margin=0.5", "method.mixing.labeled_partner=0.5"),
    ],
}
"""Each setting once; several are changed at a time, as one that touched the warm-up would show among others too."""


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of the training whose warm-up the others take."""
    folder = tmp_path_factory.mktemp("other")

    class Leaving(LocalSession):
        def leaving(self) -> bool:
            return True

    with pytest.raises(Preempted):
        Worker(tiny(), Leaving(folder), CPU).run()
    return folder


@pytest.mark.parametrize("changes", LATER)
def test_it_changes_nothing(changes: str, other: Path, tmp_path: Path) -> None:
    config = tiny(*LATER[changes])
    assert warmup_key(config) == warmup_key(tiny()) != ""
    alone, reports = train(config, tmp_path / "alone")
    told: list[dict[str, object]] = []
    shared = Worker(config, LocalSession(tmp_path / "shared", told.append), CPU)
    shared.run(1, folder_of(other, 1))
    assert [without_timing(it) for it in told] == [without_timing(it) for it in reports[1:]]
    assert_same_state(shared.state(), alone.state())


@pytest.mark.parametrize(
    "change",
    [
        *("seed=1", "optim.lr=0.01", "train.batch_size=2", "method.warmup_epochs=2", "train.epochs=4", "data.crop=64"),
        *("method.contrastive.use=false", "model.representation_dim=8", "method.supervised_loss=ohem"),
    ],
)
def test_what_touches_the_warmup_is_not_shared(change: str) -> None:
    assert warmup_key(tiny(change)) != warmup_key(tiny())


@pytest.mark.parametrize("change", ["method.name=supervised", "method.warmup_epochs=0"])
def test_without_a_warmup_there_is_nothing_to_share(change: str) -> None:
    assert warmup_key(tiny(change)) == ""
