"""Draw the pictures of docs/noise.md: why the best of many is flattered, and what budget buys.

    python -m benchmarks.noise.pictures

The second picture is drawn from `benchmarks/results/noise_table.jsonl`.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.noise.groups import BASELINE, OURS
from benchmarks.noise.simulate import RESULTS, read
from benchmarks.noise.table import merge

IMAGES = Path(__file__).parents[2] / "docs/images"
COUNTS = (1, 2, 5, 10, 20, 40, 60, 100, 200)
DRAWS = 5_000
WIDTH, HEIGHT, LEFT, TOP, BOTTOM, LEGEND = 720, 300, 60, 34, 46, 250

Line = tuple[str, str, bool, Sequence[tuple[float, float]]]
"""Name, colour, dashed, points."""


def chart(title: str, across: str, up: str, lines: Sequence[Line], ticks: Sequence[float], top: float) -> str:
    """Return a line chart as SVG, the horizontal axis logarithmic, the vertical one from 0.

    Args:
        title, across, up: the chart's and the axes' names.
        lines: what to draw.
        ticks: marks of the horizontal axis; the first and last are its ends.
        top: end of the vertical axis.
    """
    right, floor = WIDTH - LEGEND, HEIGHT - BOTTOM

    def x(value: float) -> float:
        return LEFT + (right - LEFT) * math.log(value / ticks[0]) / math.log(ticks[-1] / ticks[0])

    def y(value: float) -> float:
        return floor - (floor - TOP) * value / top

    def text(at: tuple[float, float], words: str, extra: str = 'text-anchor="middle"') -> str:
        return f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" {extra}>{words}</text>'

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        text((LEFT, 18), title, 'font-weight="bold"'),
        text(((LEFT + right) / 2, HEIGHT - 8), across),
        text((0, 0), up, f'text-anchor="middle" transform="translate(16 {(TOP + floor) / 2:.0f}) rotate(-90)"'),
    ]
    for value in np.linspace(0, top, 5):
        out.append(f'<line x1="{LEFT}" x2="{right}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#ddd"/>')
        out.append(text((LEFT - 6, y(value) + 4), f"{value:g}", 'text-anchor="end"'))
    out += [text((x(tick), floor + 16), f"{tick:g}") for tick in ticks]
    for row, (name, color, dashed, points) in enumerate(lines):
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"{dash}/>')
        out += [f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="3" fill="{color}"/>' for a, b in points]
        at = TOP + 10 + 20 * row
        out.append(
            f'<line x1="{right + 12}" x2="{right + 36}" y1="{at}" y2="{at}" stroke="{color}" stroke-width="2"{dash}/>'
        )
        out.append(text((right + 42, at + 4), name, ""))
    return "\n".join([*out, "</svg>"]) + "\n"


def flattered() -> str:
    """Return what the best value of n settings shows and what that setting is worth; they differ as much as seeds."""
    rng = np.random.default_rng(0)
    shown, worth = [], []
    for count in COUNTS:
        true = rng.standard_normal((DRAWS, count))
        value = true + rng.standard_normal((DRAWS, count))
        shown.append((count, float(value.max(axis=1).mean())))
        worth.append((count, float(true[np.arange(DRAWS), value.argmax(axis=1)].mean())))
    lines = [
        ("its value, from one seed", "#c44e52", False, shown),
        ("its worth, over many seeds", "#4c72b0", False, worth),
    ]
    return chart(
        "The best of many is flattered (snr 1)", "settings tried, one seed each", "sd over seeds", lines, COUNTS, 4
    )


def certainty() -> str:
    """Return the share of searches that claim a better setting, by budget."""
    cells = [cell for cell in merge(read(RESULTS)) if cell["parallel"] == 8 and cell["case"]["paper"] == 0.7]
    lines: list[Line] = []
    for snr, color in ((3.0, "#55a868"), (1.0, "#4c72b0"), (0.3, "#999999")):
        for policy, name in ((OURS, "search --trainings"), (BASELINE, "random + replicates")):
            points = sorted(
                (cell["budget"], float(cell["claimed"].mean()))
                for cell in cells
                if (cell["policy"], cell["case"]["structure"], cell["case"]["snr"]) == (policy, "smooth", snr)
            )
            if points:
                lines.append((f"snr {snr:g}, {name}", color, policy == BASELINE, points))
    title = "Searches that claim a better setting (smooth)"
    return chart(title, "budget, in full trainings", "share of searches", lines, (20, 40, 60, 80, 120, 160, 240), 1)


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    (IMAGES / "noise_flattered.svg").write_text(flattered(), "utf-8")
    (IMAGES / "noise_budget.svg").write_text(certainty(), "utf-8")
