"""Drawing one image of the generated set and its label. Pure numpy and OpenCV, no files."""

import colorsys
from collections.abc import Callable

import cv2
import numpy as np

from u2pl_ray.config.schema import SyntheticConfig
from u2pl_ray.data.synthetic import CLASSES

Array = np.ndarray


def _polygon(u: Array, v: Array, sides: int) -> Array:
    """Negative inside a regular polygon of inradius 0.75."""
    angles = 2.0 * np.pi * np.arange(sides) / sides
    return np.max([u * np.cos(a) + v * np.sin(a) for a in angles], axis=0) - 0.75


def _cross(u: Array, v: Array) -> Array:
    a, b = np.abs(u), np.abs(v)
    return np.minimum(np.maximum(a - 0.36, b - 1.0), np.maximum(b - 0.36, a - 1.0))


def _crescent(u: Array, v: Array) -> Array:
    return np.maximum(np.hypot(u, v) - 1.0, 0.75 - np.hypot(u - 0.55, v))


# Implicit functions of coordinates in units of the radius: negative inside.
_SHAPES: dict[str, Callable[[Array, Array], Array]] = {
    "disc": lambda u, v: np.hypot(u, v) - 0.9,
    "square": lambda u, v: np.maximum(np.abs(u), np.abs(v)) - 0.8,
    "triangle": lambda u, v: _polygon(u, v, 3) + 0.15,
    "star": lambda u, v: np.hypot(u, v) - 0.75 - 0.27 * np.cos(5.0 * np.arctan2(v, u)),
    "cross": _cross,
    "ring": lambda u, v: np.abs(np.hypot(u, v) - 0.7) - 0.32,
    "ellipse": lambda u, v: np.hypot(u, v / 0.5) - 1.0,
    "crescent": _crescent,
    "hexagon": lambda u, v: _polygon(u, v, 6),
    "bar": lambda u, v: np.maximum(np.abs(u) - 1.0, np.abs(v) - 0.4),
    "flower": lambda u, v: np.hypot(u, v) - 0.7 - 0.25 * np.cos(3.0 * np.arctan2(v, u)),
}

# Functions of coordinates in units of the texture's wavelength (times 2 pi), with values in -1..1.
_TEXTURES: dict[str, Callable[[Array, Array], Array]] = {
    "striped": lambda s, t: np.sin(s),
    "checkered": lambda s, t: np.sign(np.sin(s) * np.sin(t)),
    "dotted": lambda s, t: np.where(np.cos(s) + np.cos(t) > 0.6, 1.0, -1.0),
    "ringed": lambda s, t: np.sin(np.hypot(s, t)),
    "wavy": lambda s, t: np.sin(s + 1.6 * np.sin(t)),
    "plain": lambda s, t: np.full_like(s, 1.0),
    "netted": lambda s, t: np.where(np.maximum(np.cos(s), np.cos(t)) > 0.8, 1.0, -1.0),
    "spoked": lambda s, t: np.sign(np.sin(8.0 * np.arctan2(t, s))),
}


def draw_scene(config: SyntheticConfig, rng: np.random.Generator, number: int) -> tuple[Array, Array]:
    """One image and its label.

    Args:
        config: gives the size and the number of classes.
        rng: the only source of randomness.
        number: of the image in its split; class 1 + number % foreground classes is always in it, on top.

    Returns:
        uint8 [size, size, 3] RGB, uint8 [size, size] with values below `config.classes`.
    """
    size, foreground = config.size, config.classes - 1
    canvas = _background(rng, size)
    _strokes(rng, canvas, int(rng.integers(3, 10)))
    label = np.zeros((size, size), np.uint8)
    first = 1 + number % foreground
    others = rng.integers(1, foreground + 1, size=int(rng.integers(1, 4)))
    for index in (*others.tolist(), first):
        _object(rng, canvas, label, index)
    _strokes(rng, canvas, int(rng.integers(0, 3)))
    canvas *= _lighting(rng, size)[..., None]
    _exposure(rng, canvas)
    canvas += rng.normal(0.0, rng.uniform(2.0, 6.0), canvas.shape)
    return np.clip(canvas, 0, 255).astype(np.uint8), label


def _colour(hue: float, saturation: float, value: float) -> Array:
    return 255.0 * np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value), np.float32)


def _any_colour(rng: np.random.Generator) -> Array:
    """Of the background and its clutter: paler than the objects."""
    return _colour(rng.random(), rng.uniform(0.025, 0.25), rng.uniform(0.2, 0.95))


def _background(rng: np.random.Generator, size: int) -> Array:
    """A smooth field between a few colours, with blotches of a random scale."""
    corners = np.array([[_any_colour(rng) for _ in range(3)] for _ in range(3)], np.float32)
    mean = corners.mean((0, 1))
    field = cv2.resize(mean + 0.6 * (corners - mean), (size, size), interpolation=cv2.INTER_CUBIC)
    cells = int(rng.integers(6, 25))
    blotches = rng.normal(0.0, rng.uniform(5.0, 25.0), (cells, cells)).astype(np.float32)
    return field + cv2.resize(blotches, (size, size), interpolation=cv2.INTER_CUBIC)[..., None]


def _strokes(rng: np.random.Generator, canvas: Array, count: int) -> None:
    """Thin lines and arcs of any colour: clutter that is no class."""
    size = canvas.shape[0]
    for _ in range(count):
        colour, width = _any_colour(rng).tolist(), int(rng.integers(1, max(2, size // 24)))
        x, y = (int(value) for value in rng.integers(0, size, 2))
        if rng.random() < 0.5:
            dx, dy = (int(value) for value in rng.integers(-size // 2, size // 2 + 1, 2))
            cv2.line(canvas, (x, y), (x + dx, y + dy), colour, width)
        else:
            axes = tuple(int(value) for value in rng.integers(size // 16 + 1, size // 4 + 1, 2))
            start = float(rng.uniform(0, 360))
            cv2.ellipse(canvas, (x, y), axes, float(rng.uniform(0, 180)), start, start + 150.0, colour, width)


def _object(rng: np.random.Generator, canvas: Array, label: Array, index: int) -> None:
    """Draw one object of class `index` over the canvas and its label, in place."""
    size, name = canvas.shape[0], CLASSES[index - 1]
    texture, shape = name.split("_")
    radius = size * rng.uniform(0.18, 0.34)
    centre = rng.uniform(0.1 * size, 0.9 * size, 2)
    angle = rng.uniform(0.0, 2.0 * np.pi)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    dx, dy = x - centre[0], y - centre[1]
    u = dx * np.cos(angle) + dy * np.sin(angle)
    v = dy * np.cos(angle) - dx * np.sin(angle)
    cover = np.clip(0.5 - radius * _SHAPES[shape](u / radius, v / radius), 0.0, 1.0)

    wave = 2.0 * np.pi / (size * rng.uniform(0.07, 0.14))
    pattern = _TEXTURES[texture](wave * u + rng.uniform(0, 1.0), wave * v + rng.uniform(0, 1.0))
    hue = 0.2 * (index - 1) + rng.normal(0.0, 0.03)
    light, dark = rng.uniform(0.6, 1.0), rng.uniform(0.3, 0.6)
    if rng.random() < 0.5:  # which of the two colours is the bright one
        light, dark = dark, light
    one = _colour(hue, rng.uniform(0.6, 0.95), light)
    two = _colour(hue + rng.normal(0.0, 0.03), rng.uniform(0.6, 0.95), dark)
    mix = (0.5 + 0.5 * pattern)[..., None]
    canvas += cover[..., None] * (mix * one + (1.0 - mix) * two - canvas)
    label[cover > 0.5] = index


def _lighting(rng: np.random.Generator, size: int) -> Array:
    """Brightness as a linear gradient in a random direction, [size, size]."""
    y, x = np.mgrid[0:size, 0:size] / (size - 1.0) - 0.5
    angle, strength = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.0, 0.7)
    return rng.uniform(0.75, 1.15) + strength * (np.cos(angle) * x + np.sin(angle) * y)


def _exposure(rng: np.random.Generator, canvas: Array) -> None:
    """White balance, haze and exposure of the whole image, in place.

    They vary more between images than a few labeled ones show, and so make the unlabeled ones worth having.
    """
    warm, green = rng.uniform(-0.35, 0.35, 2)
    canvas *= np.exp(warm * np.array([1.0, 0.0, -1.0]) + 0.6 * green * np.array([-0.5, 1.0, -0.5]))
    canvas += rng.uniform(0.0, 0.3) * (0.5 * _any_colour(rng) + 90.0 - canvas)
    canvas *= np.exp(-rng.uniform(0.0, 1.6))
