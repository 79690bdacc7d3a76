"""Measurements as a plot: lines through points, as an SVG or PNG file by the suffix of its name.

No other file imports matplotlib. It is imported when a plot is drawn, and its global state is left alone.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from codec.errors import ConfigError
from codec.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Points = list[tuple[float, float]]
Scale = Literal["linear", "log"]

SUFFIXES = (".svg", ".png")
WIDTH_IN, HEIGHT_IN, PNG_DPI = 8.0, 5.0, 150
MARKERS = "os^Dv"  # a shape for each line, besides its colour
RATES_BPP, RATES_POINTS = (0.12, 1.4), (10.0, 90.0)  # shown of rate-distortion curves


class Theme(NamedTuple):
    """Colours of a chart: its ground, its text, and its lines, the first for what the chart is about."""

    ground: str
    text: str
    lines: tuple[str, ...]


THEMES = {
    "light": Theme("#ffffff", "#1f2328", ("#0b57d0", "#8c959f", "#bc4c00", "#2da44e")),
    "dark": Theme("#0d1117", "#e6edf3", ("#6cb6ff", "#768390", "#f69d50", "#6bc46d")),
}


def check_plot(path: Path | None) -> None:
    """Raise ConfigError where a plot could not be written to `path`; called before anything is measured."""
    if path is None:
        return
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"--plot {path}: must end in {' or '.join(SUFFIXES)}")
    try:
        import matplotlib  # noqa: F401  (the figure is imported where it is drawn)
    except ImportError as error:
        raise ConfigError('plots need matplotlib, which is not installed: pip install ".[plot]"') from error


def plot_seconds(lines: dict[str, Points]) -> "Figure":
    """Plot seconds against megapixels, both above 0 on logarithmic axes: linear growth is a line of slope one."""
    return plot(lines, x_label="megapixels", y_label="seconds", x_scale="log", y_scale="log")


def plot_gain(lines: dict[str, Points]) -> "Figure":
    """Plot gain in percent against seconds, which are above 0 on a logarithmic axis."""
    return plot(lines, x_label="seconds", y_label="gain, %", x_scale="log", y_scale="linear")


def plot(lines: dict[str, Points], *, x_label: str, y_label: str, x_scale: Scale, y_scale: Scale) -> "Figure":
    """Draw a line through the (x, y) of each name, in the order of x, with a legend beside the axes."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN), layout="constrained")
    axes = figure.subplots()
    for index, (name, points) in enumerate(lines.items()):
        x, y = zip(*sorted(points), strict=True)
        axes.plot(x, y, marker=MARKERS[index % len(MARKERS)], label=name.replace("$", r"\$"))  # no formulas
    axes.set(xlabel=x_label, ylabel=y_label, xscale=x_scale, yscale=y_scale)
    for axis, scale in ((axes.xaxis, x_scale), (axes.yaxis, y_scale)):
        if scale == "log":  # 0.5 and 2000, not powers of ten
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def plot_rates(curves: dict[str, Points], theme: str) -> "Figure":
    """Plot SSIMULACRA 2 against bpp of several codecs, `refined` in front."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    ground, text, colours = THEMES[theme]
    figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN), layout="constrained", facecolor=ground)
    axes = figure.subplots()
    order = sorted(curves, key=lambda name: name != "refined")
    for index, name in enumerate(order):
        x, y = zip(*sorted(curves[name]), strict=True)
        colour, front = colours[index % len(colours)], index == 0
        label, width, above = ("rdo, refined for the eye", 2.6, 3) if front else (name, 1.6, 2)
        axes.plot(x, y, color=colour, marker="o", markersize=5, linewidth=width, zorder=above, label=label)
    axes.set(xscale="log", xlim=RATES_BPP, ylim=RATES_POINTS, xlabel="bits per pixel", ylabel="SSIMULACRA 2")
    axes.xaxis.set_major_locator(FixedLocator([0.125, 0.25, 0.5, 1]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.legend(loc="lower right", frameon=False, labelcolor="linecolor", fontsize="large")
    axes.set_facecolor(ground)
    axes.grid(alpha=0.25, color=text)
    axes.tick_params(colors=text)
    for item in (axes.xaxis.label, axes.yaxis.label):
        item.set_color(text)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(text)
    return figure


def write_plot(figure: "Figure", path: Path) -> None:
    """Write a figure whole or not at all."""
    write_atomically(path, drawn(figure, path.name))


def drawn(figure: "Figure", name: str) -> bytes:
    """Return a figure as the bytes of a file of a name; equal figures give equal SVG bytes, with text as text."""
    from matplotlib import rc_context

    file = io.BytesIO()
    kind = name.rpartition(".")[2]
    with rc_context({"svg.hashsalt": "rdo", "svg.fonttype": "none"}):
        figure.savefig(file, format=kind, dpi=PNG_DPI, metadata={"Date": None} if kind == "svg" else None)
    return file.getvalue()
