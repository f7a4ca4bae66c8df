from collections import deque
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.method import golden
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.method import MemoryBankConfig
from u2pl_ray.method.memory_bank import MemoryBank, capacities, normalize_

DIM = 3


class PlainBank:
    """One deque per class of (key, step)."""

    def __init__(self, sizes: list[int]) -> None:
        self.queues: list[deque[tuple[Tensor, int]]] = [deque(maxlen=size) for size in sizes]

    def push(self, keys: list[Tensor], step: int) -> None:
        for queue, new in zip(self.queues, keys, strict=True):
            queue.extend((key, step) for key in new)

    def resize(self, sizes: list[int]) -> None:
        self.queues = [deque(queue, maxlen=size) for queue, size in zip(self.queues, sizes, strict=True)]


def push(bank: MemoryBank, keys: list[Tensor], step: int, padding: int = 0) -> None:
    """Push a list of keys per class, with rows of NaN after those of each class."""
    slots = [torch.cat([new, torch.full((padding, bank.dim), torch.nan)]) for new in keys]
    classes = torch.cat([torch.full((len(rows),), index) for index, rows in enumerate(slots)])
    order = torch.cat([torch.arange(len(rows)) for rows in slots])
    bank.push(torch.cat(slots), classes, order, torch.tensor([len(new) for new in keys]), step)


def unit(counts: list[int], seed: int) -> list[Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return [normalize_(torch.randn(count, DIM, generator=draws)) for count in counts]


def check(bank: MemoryBank, plain: PlainBank, now: int) -> None:
    ages = bank.ages(now)
    for index, queue in enumerate(plain.queues):
        assert int(bank.fill[index]) == len(queue)
        expected = torch.stack([key for key, _ in queue]) if queue else torch.empty(0, DIM)
        assert torch.equal(bank.queue(index), expected)
        mean = sum(now - step for _, step in queue) / max(1, len(queue))
        assert float(ages[index]) == pytest.approx(mean, abs=1e-5)
    longest = max(max(len(queue) for queue in plain.queues), 1)
    rows = bank.rows(torch.arange(longest).expand(len(plain.queues), -1))
    for index, queue in enumerate(plain.queues):
        for position, (key, step) in enumerate(queue):
            assert torch.equal(bank.keys[rows[index, position]], key)
            assert int(bank.steps[rows[index, position]]) == step


sizes = st.lists(st.integers(1, 5), min_size=1, max_size=3)


@given(data=st.data(), size=sizes, padding=st.integers(0, 2))
def test_a_ring_buffer_is_a_queue(data: st.DataObject, size: list[int], padding: int) -> None:
    """Any pushes (none, some, more than fit), at any fill: order, wrap, eviction, ages as of a plain queue."""
    bank, plain = MemoryBank(size, DIM), PlainBank(size)
    for step in range(data.draw(st.integers(1, 5))):
        counts = data.draw(st.lists(st.integers(0, 11), min_size=len(size), max_size=len(size)))
        keys = unit(counts, step)
        push(bank, keys, step, padding)
        plain.push(keys, step)
        check(bank, plain, step)


@given(data=st.data(), size=sizes)
def test_resize_keeps_the_newest(data: st.DataObject, size: list[int]) -> None:
    bank, plain = MemoryBank(size, DIM), PlainBank(size)
    for step in range(3):
        keys = unit(data.draw(st.lists(st.integers(0, 7), min_size=len(size), max_size=len(size))), step)
        push(bank, keys, step)
        plain.push(keys, step)
        other = data.draw(st.lists(st.integers(1, 6), min_size=len(size), max_size=len(size)))
        bank.resize(other)
        plain.resize(other)
        check(bank, plain, step)


@given(size=sizes, other=sizes, counts=st.lists(st.integers(0, 7), min_size=3, max_size=3))
def test_state_survives_and_continues_identically(size: list[int], other: list[int], counts: list[int]) -> None:
    bank, counts = MemoryBank(size, DIM), counts[: len(size)]
    push(bank, unit(counts, 0), 0)
    push(bank, unit(counts, 1), 1)
    twin = MemoryBank(size, DIM)
    push(twin, unit(counts[::-1], 2), 7)  # whatever was there before is gone
    twin.load_state_dict(bank.state_dict())
    for bank_ in (bank, twin):
        push(bank_, unit(counts, 3), 4)
    for index in range(len(size)):
        assert torch.equal(bank.queue(index), twin.queue(index))
    assert torch.equal(bank.ages(5), twin.ages(5))
    assert torch.equal(bank.state_dict()["steps"], twin.state_dict()["steps"])
    if len(other) == len(size):  # a checkpoint loads into other capacities: the newest keys
        small = MemoryBank(other, DIM)
        small.load_state_dict(bank.state_dict())
        bank.resize(other)
        assert all(torch.equal(bank.queue(index), small.queue(index)) for index in range(len(size)))


def test_by_hand_capacity_one_and_overflow() -> None:
    bank = MemoryBank([1, 3], 2)
    x, y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    push(bank, [torch.stack([x, y]), torch.stack([x, x])], step=0)
    assert bank.queue(0).tolist() == [[0, 1]]
    assert bank.queue(1).tolist() == [[1, 0], [1, 0]]
    push(bank, [torch.empty(0, 2), torch.stack([y, -x, y, -y])], step=1)
    assert bank.queue(0).tolist() == [[0, 1]]  # nothing pushed, nothing changed
    assert bank.queue(1).tolist() == [[-1, 0], [0, 1], [0, -1]]
    assert bank.ages(3).tolist() == [3.0, 2.0]


def test_rows_may_be_copies_of_fewer_keys() -> None:
    bank = MemoryBank([4, 4], DIM)
    keys = unit([3], 0)[0]
    classes, order, source = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1]), torch.tensor([2, 0, 2, 1])
    bank.push(keys, classes, order, torch.tensor([2, 2]), 0, source)
    assert torch.equal(bank.queue(0), keys[[2, 0]])
    assert torch.equal(bank.queue(1), keys[[2, 1]])


@pytest.mark.parametrize("case", golden.CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_golden_queues(case: str, dtype: torch.dtype) -> None:
    """Given the golden key pixels, the queues after the last step are the golden ones, normalised."""
    data = golden.load(case)
    bank = MemoryBank(data.config["queue_sizes"], data.config["dim"], dtype)
    for step in data.steps:
        features = data.tensor(step, "rep_teacher").permute(0, 2, 3, 1).flatten(0, 2)
        keys = normalize_(features[data.tensor(step, "fix_key_pixel").long()])
        push(bank, list(keys.split(data.tensor(step, "fix_key_count").tolist())), step)
        assert torch.equal(bank.fill, data.tensor(step, "fix_queue_count").long())
    expected = normalize_(data.tensor(data.steps[-1], "fix_queue")).to(dtype)
    assert bank.state_dict()["keys"].dtype is dtype
    torch.testing.assert_close(bank.state_dict()["keys"], expected, rtol=0, atol=1e-7)


def test_many_keys_are_written_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, pieces = MemoryBank([50, 20], DIM), MemoryBank([50, 20], DIM)
    push(whole, unit([33, 44], 0), 0)
    monkeypatch.setattr("u2pl_ray.method.memory_bank._CHUNK", 4 * DIM)
    push(pieces, unit([33, 44], 0), 0)
    assert torch.equal(whole.keys[:-1], pieces.keys[:-1])


def test_normalize() -> None:
    rows = normalize_(torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, -1e-9]]))
    torch.testing.assert_close(rows, torch.tensor([[0.6, 0.8], [0.0, 0.0], [0.0, -0.1]]))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [50, 30, 30]),
        ({"background_class": 2}, [30, 30, 50]),
        ({"background_class": None}, [30, 30, 30]),
        ({"background_capacity": None}, [30, 30, 30]),
    ],
)
def test_capacities(changes: dict[str, Any], expected: list[int]) -> None:
    config = MemoryBankConfig.model_validate({"capacity": 30, "background_capacity": 50} | changes)
    assert capacities(config, 3) == expected


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match=r"background_class=5, but there are 3 classes"):
        capacities(MemoryBankConfig(background_class=5), 3)
    bank = MemoryBank([2, 2], DIM)
    with pytest.raises(UserError, match="2 classes and keys of length 3"):
        MemoryBank([2, 2], DIM + 1).load_state_dict(bank.state_dict())
    with pytest.raises(UserError, match="2 classes"):
        MemoryBank([2, 2, 2], DIM).load_state_dict(bank.state_dict())
    for wrong in ([], [1, 0]):
        with pytest.raises(ValueError, match="at least 1"):
            MemoryBank(wrong, DIM)
    with pytest.raises(ValueError, match="cannot resize"):
        bank.resize([1])
