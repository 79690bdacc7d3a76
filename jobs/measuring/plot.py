"""Measurements as an SVG picture: lines through points, each axis linear or logarithmic."""

import math
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, HEIGHT, MARGIN, LEGEND = 640, 420, 56, 190
COLOURS = ("#1b6ca8", "#d1495b", "#3a7d44", "#8a5a9e", "#c77d18", "#4c5b61", "#0f8b8d", "#b23a8e", "#6b7a1f")

Points = list[tuple[float, float]]


class Axis(NamedTuple):
    """Both ends, as values or as their log10, and where they lie in the picture."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool

    def place(self, value: float) -> float:
        """Where a value lies in the picture."""
        at = math.log10(value) if self.logarithmic else value
        return self.start + (at - self.low) / (self.high - self.low) * (self.end - self.start)

    def marks(self) -> list[float]:
        """Round values: 1, 2, 5, 10, ..., or multiples of one of them."""
        if self.logarithmic:
            decades = range(math.floor(self.low), math.ceil(self.high) + 1)
            values = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
            return [value for value in values if self.low <= math.log10(value) <= self.high]
        decade = 10.0 ** math.floor(math.log10((self.high - self.low) / 2))
        step = next(s * decade for s in (5, 2, 1, 0.5) if (self.high - self.low) / (s * decade) >= 3)
        return [step * k for k in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def time_plot(lines: dict[str, Points]) -> str:
    """Seconds against megapixels, both logarithmic, so that linear growth is a line of slope one; all above 0."""
    return plot(lines, "megapixels", "seconds", logarithmic=(True, True))


def front_plot(lines: dict[str, Points]) -> str:
    """Gain in percent against seconds, above 0, on a logarithmic axis."""
    return plot(lines, "seconds", "gain, %", logarithmic=(True, False))


def plot(lines: dict[str, Points], x_name: str, y_name: str, logarithmic: tuple[bool, bool]) -> str:
    """An SVG of (x, y) for each named line; `logarithmic` says which axes are."""
    x = _axis([a for points in lines.values() for a, _ in points], MARGIN, WIDTH - LEGEND, logarithmic[0])
    y = _axis([b for points in lines.values() for _, b in points], HEIGHT - MARGIN, 16, logarithmic[1])
    parts = [_ticks(x, y), _text(WIDTH // 2 - LEGEND // 2, HEIGHT - 12, x_name), _text(8, 12, y_name)]
    for i, (name, points) in enumerate(lines.items()):
        colour = COLOURS[i % len(COLOURS)]
        at = [(x.place(a), y.place(b)) for a, b in sorted(points)]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in at)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{colour}"/>' for a, b in at]
        parts.append(_text(WIDTH - LEGEND + 18, 28 + 18 * i, name, colour))
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12">\n<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n{body}\n</svg>\n'
    )


def _axis(values: list[float], start: float, end: float, logarithmic: bool) -> Axis:
    """Widened a little, so that no point lies on the frame."""
    low, high = min(values), max(values)
    if logarithmic:
        low, high = math.log10(low), math.log10(high)
    room = max(0.08 * (high - low), 0.05)
    return Axis(low - room, high + room, start, end, logarithmic)


def _ticks(x: Axis, y: Axis) -> str:
    """Grid lines with their values."""
    parts = []
    for value in x.marks():
        at = x.place(value)
        parts.append(
            f'<path d="M{at:.1f} {y.start}V{y.end}" stroke="#ddd"/>{_text(at - 8, y.start + 18, f"{value:g}")}'
        )
    for value in y.marks():
        at = y.place(value)
        parts.append(f'<path d="M{x.start} {at:.1f}H{x.end}" stroke="#ddd"/>{_text(6, at + 4, f"{value:g}")}')
    return "\n".join(parts)


def _text(x: float, y: float, text: str, colour: str = "#333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}">{escape(text)}</text>'
