"""Where a training is at a step: what the method's schedules and the teacher's momentum depend on."""

from u2pl_ray.config.schema import Config
from u2pl_ray.method.teacher_momentum import horizon_momentum, teacher_momentum
from u2pl_ray.method.types import Clock


def clock_at(config: Config, steps: int, step: int) -> Clock:
    """Return the clock of a global step.

    Args:
        config: gives the epochs of training and warm-up.
        steps: optimizer steps per epoch.
        step: 0-based.
    """
    warmup, epochs = config.method.warmup_epochs, config.train.epochs
    first, last = warmup * steps, epochs * steps
    done = min(1.0, max(0.0, (step - first) / max(1, last - first)))
    return Clock(step // steps, epochs, step, warming_up=step < first, past_warmup=done)


def momentum_at(config: Config, steps: int, step: int) -> float:
    """Return the momentum of the teacher's update after a global step: 0, which copies the student, in the warm-up.

    Args:
        config: see `clock_at`.
        steps: see `clock_at`.
        step: see `clock_at`.
    """
    method = config.method
    first, last = method.warmup_epochs * steps, config.train.epochs * steps
    if step < first:
        return 0.0
    limit = method.teacher_momentum
    if method.teacher_horizon is not None:
        limit = horizon_momentum(method.teacher_horizon, last - first)
    return teacher_momentum(step - first, limit)
