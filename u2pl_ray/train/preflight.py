"""What can be found out about a training before it starts: the same for `train`, `search`, `resume` and `doctor`."""

from u2pl_ray.config.schema import Config


def preflight(config: Config) -> None:
    """Refuse a configuration whose network cannot be built.

    Args:
        config: resolved: its classes are known.

    Raises:
        UserError: one line that names the setting.
    """
    from u2pl_ray.models.segmentor import check_model

    check_model(config.model)
