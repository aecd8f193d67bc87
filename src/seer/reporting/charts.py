"""Charts as SVG text for a page: they scale with it, print, and carry the value of every point."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH, HEIGHT = 520, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 26, 46
SHAPES = (
    "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z",  # circle
    "M-3.5,-3.5h7v7h-7z",  # square
    "M0,-4.5l4.5,8h-9z",  # triangle
    "M0,-5l5,5l-5,5l-5,-5z",  # diamond
    "M0,4.5l4.5,-8h-9z",  # triangle on its tip
    "M-1.5,-4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z",  # plus
)


@dataclass(frozen=True)
class Line:
    """A curve [E] with a band from `low` to `high`; `says` is the text of each point, which has a mark or only that."""

    label: str
    colour: str
    shape: int
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray
    says: Sequence[str]
    marks: bool = True


@dataclass(frozen=True)
class Panel:
    """One chart: its lines, and dashed verticals (x, colour, what they mark); `y_range` if not that of the lines."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    verticals: Sequence[tuple[float, str, str]] = ()
    y_range: tuple[float, float] | None = None


def chart(panel: Panel) -> str:
    """The panel as an SVG element.

    Every point is a `path.point` with its text in <title>, which a page without scripts shows on hover too.
    """
    lines = panel.lines
    x_ticks = ticks(min(0.0, *(float(line.x.min()) for line in lines)), max(float(line.x.max()) for line in lines))
    low, high = min(float(line.low.min()) for line in lines), max(float(line.high.max()) for line in lines)
    y_ticks = ticks(*(panel.y_range or (low, high)))
    x, y = _scale(x_ticks, LEFT, WIDTH - RIGHT), _scale(y_ticks, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(panel.title)}">',
        f'<text class="title" x="{LEFT}" y="15">{escape(panel.title)}</text>',
        *_axes(panel, x_ticks, y_ticks, x, y),
    ]
    for moment, colour, meaning in panel.verticals:
        parts.append(
            f'<line class="vertical" x1="{x(moment):.1f}" x2="{x(moment):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" '
            f'stroke="{colour}"><title>{escape(meaning)}</title></line>'
        )
    parts += [part for line in lines for part in _line(line, x, y)]
    return "\n".join([*parts, "</svg>"])


def legend(entries: Sequence[tuple[str, str, int]]) -> str:
    """A legend as HTML: (label, colour, shape) each."""
    keys = [
        f'<li><svg viewBox="-14 -7 28 14" width="28" height="14" aria-hidden="true"><path d="M-14,0h28" '
        f'stroke="{colour}" stroke-width="2"/><path d="{SHAPES[shape % len(SHAPES)]}" fill="{colour}"/></svg>'
        f"{escape(label)}</li>"
        for label, colour, shape in entries
    ]
    return f'<ul class="legend">{"".join(keys)}</ul>'


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers, about `count` of them, from at or below `low` to at or above `high`."""
    span = (high - low) or abs(high) or 1.0
    magnitude = 10.0 ** math.floor(math.log10(span / count))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude * count >= span)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def short(value: float) -> str:
    """A number for an axis: 250000 -> 250k, 4.5e13 -> 4.5e13."""
    if value == 0:
        return "0"
    if abs(value) >= 1e9:
        exponent = math.floor(math.log10(abs(value)))
        return f"{value / 10**exponent:.3g}e{exponent}"
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.4g}{unit}"
    return f"{value:.4g}"


def _scale(marks: Sequence[float], start: float, end: float) -> Callable[[float], float]:
    """From data to the chart's units, the first mark at `start` and the last at `end`."""
    low, high = marks[0], marks[-1]
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _axes(
    panel: Panel,
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    x: Callable[[float], float],
    y: Callable[[float], float],
) -> list[str]:
    floor = HEIGHT - BOTTOM
    parts = []
    for tick in y_ticks:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text class="tick end" x="{LEFT - 6}" y="{y(tick) + 4:.1f}">{short(tick)}</text>')
    parts += [f'<text class="tick middle" x="{x(tick):.1f}" y="{floor + 16}">{short(tick)}</text>' for tick in x_ticks]
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{floor}" y2="{floor}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="tick middle" x="{middle}" y="{HEIGHT - 8}">{escape(panel.x_label)}</text>')
    upright = f'transform="translate(13,{(TOP + floor) / 2}) rotate(-90)"'
    parts.append(f'<text class="tick middle" {upright}>{escape(panel.y_label)}</text>')
    return parts


def _line(line: Line, x: Callable[[float], float], y: Callable[[float], float]) -> list[str]:
    def path(xs: np.ndarray, ys: np.ndarray) -> str:
        return "L".join(f"{x(a):.1f},{y(b):.1f}" for a, b in zip(xs, ys, strict=True))

    band = f"M{path(line.x, line.high)}L{path(line.x[::-1], line.low[::-1])}z"
    parts = [
        f'<path class="band" d="{band}" fill="{line.colour}"/>',
        f'<path class="line" d="M{path(line.x, line.y)}" stroke="{line.colour}"/>',
    ]
    shape, kind = SHAPES[line.shape % len(SHAPES)], "point" if line.marks else "point quiet"
    for a, b, says in zip(line.x, line.y, line.says, strict=True):
        parts.append(
            f'<path class="{kind}" transform="translate({x(a):.1f},{y(b):.1f})" d="{shape}" fill="{line.colour}">'
            f"<title>{escape(says)}</title></path>"
        )
    return parts
