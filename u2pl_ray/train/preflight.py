"""What can be found out about a training before it starts: the same for `train`, `search`, `resume` and `doctor`."""

from u2pl_ray.config.methods import load_objective
from u2pl_ray.config.schema import Config


def preflight(config: Config) -> list[str]:
    """Refuse a configuration whose network cannot be built, whose weights cannot be had, or whose steps fail.

    Args:
        config: resolved: its classes are known.

    Returns:
        Warnings, a line each.

    Raises:
        UserError: one line that names the setting.
    """
    from u2pl_ray.models.pretrained import check_weights
    from u2pl_ray.models.segmentor import check_model
    from u2pl_ray.train.rehearsal import rehearse

    check_model(config.model, config.data.channels)
    warnings = check_weights(config)
    rehearse(config)
    use = config.method.strong_view.use
    distorts = getattr(load_objective(config.method.name), "strong_view", False) if use is None else use
    if config.data.channels != 3 and config.method.semi_supervised and distorts:
        warnings.append(
            f"data.channels={config.data.channels}: the strong view changes brightness and contrast and blurs; "
            "saturation, hue and grayscale are left out, as they need three channels"
        )
    return warnings
