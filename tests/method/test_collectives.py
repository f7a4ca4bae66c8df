from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tests.method.workers import launch
from u2pl_ray.method.collectives import Collectives

DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int16,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
]
CPU = torch.device("cpu")


def values(rank: int, dtype: torch.dtype) -> Tensor:
    """Different on every rank, in a shape whose bytes are no multiple of eight; not contiguous."""
    draws = torch.Generator().manual_seed(rank)
    return torch.randint(0, 100, (5, 3), generator=draws).to(dtype).T[:, 1:4]


def gather_and_sum() -> dict[str, Any]:
    collectives = Collectives.from_process_group("cpu")
    rank = collectives.rank
    special = torch.tensor([[float("nan"), -0.0], [float("inf"), 1e-45]])
    mixed = collectives.gather(
        *(values(rank, dtype) for dtype in DTYPES), special, torch.empty(0, 4), torch.ones(2, requires_grad=True)
    )
    grown = torch.zeros(2, 3)
    grown[rank % 2] = rank + 0.1
    summed = collectives.sum(torch.tensor(2**22 + rank), grown, values(rank, torch.bfloat16))
    return {"rank": rank, "world_size": collectives.world_size, "gather": list(mixed), "sum": list(summed)}


@pytest.mark.parametrize("world_size", [2, 4])
def test_against_plain_concatenation_and_sums(world_size: int) -> None:
    results = launch(world_size, gather_and_sum)
    ranks = range(world_size)
    assert [(result["rank"], result["world_size"]) for result in results] == [(rank, world_size) for rank in ranks]
    for result in results:
        *typed, special, empty, ones = result["gather"]
        for dtype, got in zip(DTYPES, typed, strict=True):
            assert got.dtype == dtype
            assert torch.equal(got, torch.cat([values(rank, dtype) for rank in ranks]))
        bits = torch.tensor([[float("nan"), -0.0], [float("inf"), 1e-45]]).view(torch.int32)
        assert torch.equal(special.view(torch.int32), bits.repeat(world_size, 1))
        assert empty.shape == (0, 4)
        assert torch.equal(ones, torch.ones(2 * world_size))
        assert not ones.requires_grad
        count, grown, halves = result["sum"]
        assert count.item() == sum(2**22 + rank for rank in ranks)
        want = torch.zeros(2, 3)
        for rank in ranks:
            want[rank % 2] += rank + 0.1
        torch.testing.assert_close(grown, want)
        assert halves.dtype == torch.float32
        assert torch.equal(halves, torch.stack([values(rank, torch.float32) for rank in ranks]).sum(0))
        # The same bits everywhere: the memory banks of all workers must be identical.
        assert torch.equal(grown, results[0]["sum"][1])


def test_a_single_worker_needs_no_process_group() -> None:
    assert not dist.is_initialized()
    collectives = Collectives.from_process_group("cpu")
    assert (collectives.rank, collectives.world_size) == (0, 1)
    labels, weights = torch.arange(3, dtype=torch.uint8), torch.ones(2, requires_grad=True)
    gathered = collectives.gather(labels, weights)
    assert torch.equal(gathered[0], labels)
    assert not gathered[1].requires_grad
    assert torch.equal(collectives.sum(labels)[0], labels.float())


def test_own_slices_cover_the_batch_in_rank_order() -> None:
    whole = torch.arange(12)
    parts = [Collectives(CPU, rank, 4).own(whole) for rank in range(4)]
    assert [part.tolist() for part in parts] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]


@pytest.mark.parametrize("count", [1, 7])
def test_one_message_however_many_tensors(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def gather(into: Tensor, packed: Tensor) -> None:
        calls.append("gather")
        into.copy_(packed.repeat(2))

    monkeypatch.setattr(dist, "all_gather_into_tensor", gather)
    monkeypatch.setattr(dist, "all_reduce", lambda packed: calls.append("sum"))
    collectives = Collectives(CPU, 0, 2)
    collectives.gather(*(torch.ones(3) for _ in range(count)))
    collectives.sum(*(torch.ones(3) for _ in range(count)))
    assert calls == ["gather", "sum"]
