"""Plots of measurements: axes, lines, names, and files by their suffix."""

import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from codec.errors import ConfigError
from jobs.measuring.plot import check_plot, plot_gain, plot_seconds, write_plot

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def lines() -> dict[str, list[tuple[float, float]]]:
    pytest.importorskip("matplotlib", reason="the extra `plot` brings it")
    return {"a < b": [(1, 10), (0.1, 1)], "$c_1$": [(10, 100)]}


def places(figure: Any) -> list[Any]:
    """The points of each line in px of the figure."""
    figure.draw_without_rendering()
    axes = figure.axes[0]
    return [axes.transData.transform(line.get_xydata()) for line in axes.get_lines()]


def test_a_plot_of_seconds_puts_equal_factors_at_equal_distances(lines: Any) -> None:
    first, second = places(plot_seconds(lines))
    assert first[1] - first[0] == pytest.approx(second[0] - first[1]) and (first[0] < first[1]).all()


def test_a_plot_of_gain_is_linear_in_it(lines: Any) -> None:
    figure = plot_gain({"a": [(1, -0.5), (10, 2), (100, 4.5)]})
    [line] = places(figure)
    assert line[1] - line[0] == pytest.approx(line[2] - line[1])
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("seconds", "gain, %")


@pytest.mark.parametrize("high", [1.2, 3.2, 4.9, 10.0, 29.0, 31.0])
def test_every_axis_has_marks(high: float, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra `plot` brings it")
    write_plot(plot_gain({"a": [(1, 1.0), (2, high)]}), tmp_path / "a.svg")
    assert len(list(ElementTree.parse(tmp_path / "a.svg").iter(SVG + "text"))) > 5


def test_an_svg_names_its_lines_in_plain_text_and_is_reproducible(lines: Any, tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        write_plot(plot_seconds(lines), tmp_path / name)
    texts = {element.text for element in ElementTree.parse(tmp_path / "a.svg").iter(SVG + "text")}
    assert {"a < b", "$c_1$", "megapixels", "seconds"} <= texts
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_png_is_a_picture(lines: Any, tmp_path: Path) -> None:
    write_plot(plot_seconds(lines), tmp_path / "a.png")
    assert np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).std() > 5


def test_what_cannot_be_drawn_is_refused_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    check_plot(None)
    with pytest.raises(ConfigError, match=r"--plot a.pdf: must end in .svg or .png"):
        check_plot(Path("a.pdf"))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r'pip install ".\[plot\]"'):
        check_plot(Path("a.svg"))
