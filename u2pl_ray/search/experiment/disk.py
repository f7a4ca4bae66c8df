"""What of a search decides how large its checkpoints get."""

from u2pl_ray.config import overrides
from u2pl_ray.config.schema import Config
from u2pl_ray.search.space.parameter import bounds
from u2pl_ray.search.space.space import Space

_CAPACITY = "method.memory_bank.capacity"


def largest_bank(config: Config, space: Space) -> Config:
    """Return the configuration with the largest memory bank that the space allows."""
    searched = space.parameters.get(_CAPACITY)
    if searched is None:
        return config
    largest = max(searched.choices) if searched.choices else bounds(searched.distribution)[1]
    return overrides.apply(config, {_CAPACITY: largest})


def capacity_of(config: Config) -> str:
    """Return how large the bank is, in words: `at most 30000 keys of 256 numbers a class`."""
    return f"at most {config.method.memory_bank.capacity} keys of {config.model.representation_dim} numbers a class"
