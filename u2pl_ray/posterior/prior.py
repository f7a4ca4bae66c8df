"""What is believed of the settings before any training: alike in spread, and perhaps smooth over the parameters."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from u2pl_ray.posterior.runs import Array

_REFERENCE_EXTRA = 0.25
"""Variance, in units of a run's luck, by which the reference may differ from settings of its kind: it was not drawn
from the search space, so it is hardly shrunk towards those that were."""
_SNRS = (0.03, 0.1, 0.2, 0.4, 0.7, 1.1, 1.8, 3.2)
_SMOOTH_SNRS = (0.15, 0.4, 1.0, 2.5)
_LIKELY_SNR, _SNR_SPREAD = 0.1, 1.2
"""Center and log standard deviation of the signal-to-noise ratio's prior. It doubts: centered at 1, one search in ten
claimed a gain where all settings were alike, and what was picked was no better."""
_SHAPES = ((0.3, 0.02), (0.3, 0.5), (0.6, 0.02), (0.6, 0.5), (1.2, 0.02), (1.2, 0.5))


@dataclass(frozen=True)
class Hyper:
    """Hold what the settings' prior depends on.

    Args:
        snr: standard deviation of the settings' worth over that of a run's luck.
        nugget: the part of the settings' variance that is not smooth over the parameters; 1 is flat.
        length: length scale of the smooth part in the unit cube; unused where flat.
    """

    snr: float
    nugget: float = 1.0
    length: float = 1.0


def grid(smooth: bool) -> list[Hyper]:
    """Return the candidates, flat ones first, and smooth ones where the settings have points."""
    flat = [Hyper(snr) for snr in _SNRS]
    return flat + [Hyper(snr, nugget, length) for length, nugget in _SHAPES for snr in _SMOOTH_SNRS] if smooth else flat


def log_priors(choices: Sequence[Hyper]) -> Array:
    """Return [G] the log prior of the candidates of `grid`: flat and smooth ones are equally likely as a group.

    Within each, the signal-to-noise ratio is log-normal.
    """
    flat = np.array([choice.nugget >= 1 for choice in choices])
    found = -0.5 * (np.log([choice.snr / _LIKELY_SNR for choice in choices]) / _SNR_SPREAD) ** 2
    for group in (flat, ~flat):
        if group.any():
            found[group] -= np.logaddexp.reduce(found[group])
    return np.asarray(found, float)


def matern(a: Array, b: Array, length: float) -> Array:
    """Return the Matern-5/2 kernel [A, B] of points [A, d] and [B, d]: functions with two derivatives."""
    distance = math.sqrt(5) / length * cdist(a, b)
    return (1 + distance + distance**2 / 3) * np.exp(-distance)


def covariance(
    hyper: Hyper, count: int, points: Array | None, reference: int | None, kernels: dict[float, Array] | None = None
) -> Array:
    """Return Sigma over v of `count` settings: [S, S], or its diagonal [S] where flat.

    Args:
        hyper: the choice of hyperparameters.
        count: S.
        points: [S, d] places in the unit cube; None for a flat prior.
        reference: index of the reference setting.
        kernels: kernels of these points by length scale, to be reused and added to.
    """
    size = hyper.snr**2
    if hyper.nugget >= 1 or points is None:
        prior = np.full(count, size)
        if reference is not None:
            prior[reference] += _REFERENCE_EXTRA
        return prior
    kernels = {} if kernels is None else kernels
    if hyper.length not in kernels:
        kernels[hyper.length] = matern(points, points, hyper.length)
    prior = size * (1 - hyper.nugget) * kernels[hyper.length]
    diagonal = np.full(count, size * hyper.nugget + 1e-8)
    if reference is not None:
        diagonal[reference] += _REFERENCE_EXTRA
    prior[np.diag_indices(count)] += diagonal
    return prior
