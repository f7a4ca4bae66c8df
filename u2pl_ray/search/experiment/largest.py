"""The setting of a space that needs the most memory, as far as numbers and a few choices say it."""

from typing import Any

from u2pl_ray.config import overrides
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.space.parameter import Parameter, bounds
from u2pl_ray.search.space.space import Space

CAPACITY = "method.memory_bank.capacity"
_MORE_IS_LARGER = (
    *("train.batch_size", "train.unlabeled_batch_size", "train.micro_batch_size", "train.eval_batch_size"),
    *("data.crop", "model.representation_dim", "method.contrastive.anchors", "method.contrastive.negatives"),
    *(CAPACITY, "method.memory_bank.background_capacity", "method.memory_bank.push_cap"),
)
"""Numbers that memory grows with; null is no limit."""
_CHOICES = ("model.", "method.name", "train.", "method.memory_bank.key_dtype", "data.", "method.mixing.kind")
"""Where choices may cost memory that no number says."""


def largest(space: Space, setting: dict[str, Any], config: Config) -> tuple[dict[str, Any], list[str]]:
    """Return the values of what is searched that need the most memory, and the settings whose choices were passed over.

    Args:
        space: what is searched.
        setting: values by dotted path to start from.
        config: the configuration the trials start from.

    Returns:
        `setting` with the largest values of what memory is known to grow with (batches, crops, queues, anchors, numbers
        of channels; of several encoders the one with the most parameters), as it is if these are not valid together;
        and the paths of choices that may matter and are not compared.
    """
    chosen, passed = dict(setting), []
    for path, parameter in space.parameters.items():
        if path in _MORE_IS_LARGER:
            chosen[path] = _most(parameter)
        elif path == "model.encoder" and parameter.choices:
            chosen[path] = max(parameter.choices, key=lambda name: _parameters(space, config, str(name)))
        elif parameter.choices is not None and path.startswith(_CHOICES):
            passed.append(path)
    try:
        space.configure(config, chosen)
    except UserError:
        return dict(setting), passed
    return chosen, passed


def largest_bank(config: Config, space: Space) -> Config:
    """Return the configuration with the largest memory bank that the space allows."""
    searched = space.parameters.get(CAPACITY)
    return config if searched is None else overrides.apply(config, {CAPACITY: _most(searched)})


def _most(parameter: Parameter) -> Any:
    """Return the largest value; null, which is no limit, is larger than any."""
    if parameter.choices is None:
        return bounds(parameter.distribution)[1]
    return max(parameter.choices, key=lambda value: (value is None, value or 0))


def _parameters(space: Space, config: Config, encoder: str) -> int:
    from u2pl_ray.models.segmentor import blank

    try:
        model = space.configure(config, {"model.encoder": encoder}).model
        network = blank(model, len(config.data.classes), config.method.contrasts, config.data.channels)
    except UserError:
        return 0
    return sum(parameter.numel() for parameter in network.parameters())
