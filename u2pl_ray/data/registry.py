"""From `data.dataset` to files on disk: one line per kind of data set."""

from collections.abc import Callable

from u2pl_ray.config.checks import check_classes, check_rare_classes
from u2pl_ray.config.schema import Config, DataConfig
from u2pl_ray.data.synthetic import class_names, ensure
from u2pl_ray.data.voc import read_classes, root_of


def _voc(data: DataConfig) -> DataConfig:
    root = str(root_of(data))
    return data.model_copy(update={"root": root, "classes": read_classes(data)})


def _synthetic(data: DataConfig) -> DataConfig:
    names = class_names(data.synthetic)
    return data.model_copy(update={"root": str(ensure(data.synthetic)), "classes": names})


DATASETS: dict[str, Callable[[DataConfig], DataConfig]] = {"voc": _voc, "synthetic": _synthetic}
"""Each makes sure of its files and fills in `root` (absolute) and `classes`."""


def resolve(config: Config) -> Config:
    """The configuration with `data.root` and `data.classes` filled in, checked against the classes.

    The generated set is written to the cache if it is not there. Resolving twice changes nothing, so each machine
    of a cluster may resolve for itself.

    Raises:
        UserError: a missing root or class list; a setting that does not go with the classes.
    """
    data = DATASETS[config.data.dataset](config.data)
    check_classes(config, len(data.classes))
    check_rare_classes(config, data.classes)
    return config.model_copy(update={"data": data})
