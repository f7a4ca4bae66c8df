"""The schedule of alpha_t, the fraction of pixels called unreliable."""

import math

from u2pl_ray.config.method import AlphaConfig


def alpha_at(config: AlphaConfig, epoch: int, epochs: int) -> float:
    """alpha_t = end + (start - end) * s(t / T), with t = `epoch` (0-based) and T = `epochs`.

    s is 1 - x (linear; U2PL, section 3.2), (1 - x)**power (polynomial), (1 + cos(pi x)) / 2 (cosine) or 1
    (constant). `end` is what the schedule tends to: the last epoch, at t = T - 1, is one step short of it.
    """
    x = epoch / epochs
    shape = {
        "constant": 1.0,
        "linear": 1.0 - x,
        "polynomial": (1.0 - x) ** config.power,
        "cosine": (1.0 + math.cos(math.pi * x)) / 2.0,
    }[config.kind]
    return config.end + (config.start - config.end) * shape
