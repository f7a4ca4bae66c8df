"""From `data.dataset` to files on disk: one line per kind of data set."""

from collections.abc import Callable

from u2pl_ray.config.checks import check_classes, check_rare_classes
from u2pl_ray.config.schema import Config, DataConfig
from u2pl_ray.data.synthetic import class_names, ensure
from u2pl_ray.data.voc import location_of, read_classes, root_of

Say = Callable[[str], None]


def _voc(data: DataConfig, say: Say | None) -> DataConfig:
    root_of(data, say)
    return data.model_copy(update={"root": location_of(data), "classes": read_classes(data)})


def _synthetic(data: DataConfig, say: Say | None) -> DataConfig:
    names = class_names(data.synthetic)
    return data.model_copy(update={"root": str(ensure(data.synthetic)), "classes": names})


DATASETS: dict[str, Callable[[DataConfig, Say | None], DataConfig]] = {"voc": _voc, "synthetic": _synthetic}
"""Each makes sure of its files and fills in `root` (an absolute path or a URI, never a copy's path) and `classes`."""


def resolve(config: Config, say: Say | None = None) -> Config:
    """The configuration with `data.root` and `data.classes` filled in, checked against the classes.

    The generated set is written to the cache if it is not there, and data on an object store or over a network is
    copied to this node. Resolving twice changes nothing, so each machine of a cluster may resolve for itself.

    Args:
        config: the configuration.
        say: takes lines on the progress of a copy; None: they go to stderr.

    Raises:
        LostError: the object store does not answer.
        UserError: a missing root or class list; a setting that does not go with the classes.
    """
    data = DATASETS[config.data.dataset](config.data, say)
    check_classes(config, len(data.classes))
    check_rare_classes(config, data.classes)
    return config.model_copy(update={"data": data})
