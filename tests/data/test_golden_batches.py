"""The batches of the preset are bit for bit what they were on 2026-11-27 (before and after the field's formats)."""

import hashlib
from collections.abc import Iterable
from itertools import islice

from torch import Tensor

from u2pl_ray.config.overrides import load
from u2pl_ray.data.loaders import EvaluationBatches, TrainingBatches
from u2pl_ray.data.registry import resolve

TRAINING = "0747c8f37b36bfd2ddd06ebf9530c636def0e8d95c77ec4d608e81717dd05e77"
VALIDATION = "cf9e2ed5e64e610e37ce28ed0053ffb599ba7e3c5524f92dd9d62e72e8fb5e05"


def digest(batches: Iterable[tuple[object, ...]]) -> str:
    found = hashlib.sha256()
    for batch in batches:
        for part in batch:
            found.update(part.numpy().tobytes() if isinstance(part, Tensor) else repr(part).encode())
    return found.hexdigest()


def test_batches_of_quickstart() -> None:
    config = resolve(load("quickstart", []))
    assert digest(islice(TrainingBatches(config).epoch(0), 3)) == TRAINING
    assert digest(islice(EvaluationBatches(config, "val"), 3)) == VALIDATION
