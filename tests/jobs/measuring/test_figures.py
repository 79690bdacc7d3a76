"""Figures of the README: collected from reports, shown in tables, compared with kept ones, and those that are kept."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import jobs.measuring.figures
from codec.errors import ConfigError
from jobs.bench import main
from jobs.comparing.build import build_report
from jobs.comparing.classical import ClassicalRecord
from jobs.comparing.report import Report
from jobs.measuring import reproduce
from jobs.measuring.figures import Figures, collect, differences, kept_path, read, tables, write
from jobs.measuring.plot import THEMES, plot_rates

README = Path(__file__).parents[3] / "README.md"


def ladder(name: str, rate: float) -> list[ClassicalRecord]:
    """Points of the plain curve of `make_record` at `rate` times its bits."""
    return [
        ClassicalRecord(
            image, image, name, f"quality {q}", "", 900, rate * 0.2 * 1.25**q, 26 + 1.5 * q, 1 - 10 ** (-1 - q / 10),
            20 + 8 * q, 0.1, butteraugli=10 ** (-q / 20),
        )
        for image in "abc"
        for q in (1, 3, 5, 7)
    ]  # fmt: skip


@pytest.fixture
def reports(make_record: Callable[..., Any]) -> tuple[Report, Report]:
    """A comparison for the eye, 20 % fewer bits than plain encoding, and one for the mse, 5 % fewer."""
    found = []
    for saved, peers in ((0.2, ("AVIF tune=iq", "JPEG XL effort 7")), (0.05, ("JPEG", "WebP"))):
        records = [make_record(image, q, saved) for image in "abc" for q in (2, 4.5)]
        records += [make_record(image, q, 0.0, iters=0) for image in "abc" for q in (1, 3, 6, 8)]
        points = [point for peer, rate in zip(peers, (1.0, 1.6), strict=True) for point in ladder(peer, rate)]
        report = build_report(records, classical=points, splits=[], anchors=None, notes=[], settings={"command": "x"})
        found.append(report)
    return found[0], found[1]


@pytest.fixture
def figures(reports: tuple[Report, Report]) -> Figures:
    return collect("rdo-bench reproduce a b c", *reports)


def test_figures_are_those_of_the_reports(figures: Figures) -> None:
    values = figures.values
    assert figures.pictures == 3 and set(figures.curves) == {"plain", "refined", "AVIF tune=iq", "JPEG XL effort 7"}
    for codec, saved in (("plain", 20.0), ("AVIF", 20.0), ("JPEG XL", 50.0)):
        for metric in ("ssimulacra2", "butteraugli"):
            key = f"visual/2/saved/{metric}/{codec}"
            spread = [values[key], values[f"{key}/low"], values[f"{key}/high"], values[f"{key}/least"]]
            assert spread == pytest.approx([saved] * 4, abs=0.5)  # curves between points are not quite exponentials
    assert values["mse/4.5/psnr/refined"] == 26 + 1.5 * 4.5
    assert values["mse/bd_rate/refined/plain"] == pytest.approx(-5.0, abs=0.1)
    assert not any(key.startswith("visual/1/") for key in values), "plain encoding alone"


def test_tables_show_figures_by_quality(figures: Figures) -> None:
    seen, squared = tables(figures).split("\n\n")
    assert seen.splitlines()[0] == squared.splitlines()[0] == "| quality | 2 | 4.5 |"
    assert f"{figures.values['visual/4.5/bpp/plain']:.3f}, 56.0 |" in seen and "35.00 dB" not in seen
    row = next(line for line in seen.splitlines() if "on JPEG XL" in line)
    assert row.count("**") == 4 and f"**{figures.values['visual/2/saved/ssimulacra2/JPEG XL']:.1f} %**" in row
    lacking = replace(figures, values={k: v for k, v in figures.values.items() if "JPEG XL" not in k})
    assert "on JPEG XL | - | - |" in tables(lacking)


def test_what_moved_is_named(figures: Figures) -> None:
    assert differences(figures, figures) == []
    key, other = "visual/2/saved/ssimulacra2/plain", "visual/2/bpp/plain"
    moved = replace(figures, values={**figures.values, key: 15.0, other: figures.values[other] * 1.01, "new": 1.0})
    assert differences(figures, moved) == [f"{key}: {figures.values[key]:.4g} -> 15", "new: none -> 1"]


def test_a_file_keeps_figures(figures: Figures, tmp_path: Path) -> None:
    write(figures, tmp_path / "figures.json")
    assert read(tmp_path / "figures.json") == figures
    (tmp_path / "other.json").write_text('{"curves": 3}')
    with pytest.raises(ConfigError, match="holds no figures of rdo-bench reproduce"):
        read(tmp_path / "other.json")


def test_the_readme_shows_the_kept_figures() -> None:
    text = README.read_text(encoding="utf-8")
    for table in tables(read(kept_path())).strip().split("\n\n"):
        assert table in text, "rdo-bench reproduce prints the tables to be put there"


def test_reproducing_names_what_moved_and_draws(
    reports: tuple[Report, Report], figures: Figures, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    pytest.importorskip("matplotlib", reason="the extra `plot` brings it")
    monkeypatch.setattr(reproduce, "measure", lambda settings: reports)
    kept = replace(figures, values={**figures.values, "mse/2/gain": 50.0})
    write(kept, tmp_path / "kept.json")
    monkeypatch.setattr(jobs.measuring.figures, "kept_path", lambda: tmp_path / "kept.json")
    charts = tmp_path / "charts"
    assert main(["reproduce", "photos", "-o", str(tmp_path), "--charts", str(charts)]) == 0
    shown, told = capsys.readouterr()
    assert shown == tables(figures) and "mse/2/gain: 50 -> " in told and "1 of " in told
    assert read(tmp_path / "figures.json").values == figures.values
    assert {path.name for path in charts.iterdir()} == {"kodak-light.svg", "kodak-dark.svg"}
    assert main(["reproduce"]) == 0
    assert capsys.readouterr().out == tables(kept)


def test_a_chart_has_a_named_line_for_each_codec(figures: Figures) -> None:
    pytest.importorskip("matplotlib", reason="the extra `plot` brings it")
    for theme in THEMES:
        axes = plot_rates(figures.curves, theme).axes[0]
        names = {text.get_text() for text in axes.get_legend().get_texts()}
        assert names == {"rdo, refined for the eye", "plain", "AVIF tune=iq", "JPEG XL effort 7"}
        assert len(axes.get_lines()) == 4 and axes.get_lines()[0].get_linewidth() > axes.get_lines()[1].get_linewidth()
