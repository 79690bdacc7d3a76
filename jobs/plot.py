"""Time against pixels as an SVG picture: logarithmic axes, so that linear growth is a line of slope one."""

import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT, MARGIN, LEGEND = 640, 420, 56, 190
COLOURS = ("#1b6ca8", "#d1495b", "#3a7d44", "#8a5a9e", "#c77d18", "#4c5b61", "#0f8b8d", "#b23a8e", "#6b7a1f")

Points = list[tuple[float, float]]


def time_plot(lines: dict[str, Points]) -> str:
    """An SVG of (megapixels, seconds) for each named line; all values are positive."""
    x = _axis([p for points in lines.values() for p, _ in points], MARGIN, WIDTH - LEGEND)
    y = _axis([s for points in lines.values() for _, s in points], HEIGHT - MARGIN, 16)
    parts = [_ticks(x, y), _text(WIDTH // 2 - LEGEND // 2, HEIGHT - 12, "megapixels"), _text(8, 12, "seconds")]
    for i, (name, points) in enumerate(lines.items()):
        colour = COLOURS[i % len(COLOURS)]
        at = [(_place(x, p), _place(y, s)) for p, s in sorted(points)]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in at)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{colour}"/>' for a, b in at]
        parts.append(_text(WIDTH - LEGEND + 18, 28 + 18 * i, name, colour))
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12">\n<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n{body}\n</svg>\n'
    )


Axis = tuple[float, float, float, float]  # log10 of both ends, and where they lie


def _axis(values: list[float], start: float, end: float) -> Axis:
    """Widened a little, so that no point lies on the frame."""
    low, high = math.log10(min(values)), math.log10(max(values))
    room = max(0.08 * (high - low), 0.05)
    return low - room, high + room, start, end


def _place(axis: Axis, value: float) -> float:
    low, high, start, end = axis
    return start + (math.log10(value) - low) / (high - low) * (end - start)


def _marks(axis: Axis) -> list[float]:
    """1, 2, 5, 10, ... inside the axis."""
    decades = range(math.floor(axis[0]), math.ceil(axis[1]) + 1)
    values = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
    return [value for value in values if axis[0] <= math.log10(value) <= axis[1]]


def _ticks(x: Axis, y: Axis) -> str:
    """Grid lines with their values."""
    parts = []
    for value in _marks(x):
        at = _place(x, value)
        parts.append(f'<path d="M{at:.1f} {y[2]}V{y[3]}" stroke="#ddd"/>{_text(at - 8, y[2] + 18, f"{value:g}")}')
    for value in _marks(y):
        at = _place(y, value)
        parts.append(f'<path d="M{x[2]} {at:.1f}H{x[3]}" stroke="#ddd"/>{_text(6, at + 4, f"{value:g}")}')
    return "\n".join(parts)


def _text(x: float, y: float, text: str, colour: str = "#333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}">{escape(text)}</text>'
