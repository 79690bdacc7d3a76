"""`rdo-bench reproduce`: every measured figure of the README from scratch, and which of them moved.

Two comparisons of `rdo-compare` at the default effort, for the eye and for the mse, each in a folder of its own. The
invariant: a second run, or one after an interruption, measures only what is missing.
"""

import argparse
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import cli
from jobs.pools.selection import PoolSettings, add_pool_flags

if TYPE_CHECKING:
    from codec.images.read import ImagePolicy
    from jobs.comparing.report import Report
    from jobs.comparing.run import CompareSettings

PLAIN_LADDER = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
QUALITIES_SEEN, QUALITIES_SQUARED = (2.0, 4.5, 7.0), (1.0, 4.5, 8.0)
LADDERS_SEEN = ("AVIF tune=iq", "AVIF tune=ssimulacra2", "JPEG XL effort 7")
LADDERS_SQUARED = ("JPEG", "WebP")
FILE = "figures.json"


@dataclass(frozen=True)
class ReproduceSettings:
    """Pictures to measure on, and where what is measured is kept.

    Attributes:
        inputs: files and folders, for the README the 24 pictures of Kodak.
        output: folder of files, reports and figures.
        kept: figures to compare with; None are those of the README.
        policy: conversion of pictures to 8-bit RGB.
        pool: model, device and workers.
        charts: folder for the chart of these figures, light and dark; None draws none.
    """

    inputs: tuple[str, ...]
    output: Path
    kept: Path | None
    policy: "ImagePolicy"
    pool: PoolSettings
    charts: Path | None


def add_flags(flags: argparse.ArgumentParser) -> None:
    """Add the flags of `rdo-bench reproduce`."""
    flags.add_argument(
        "inputs", nargs="*", metavar="PICTURE", help="files or folders (default: the kept figures alone)"
    )
    flags.add_argument("-o", "--output", type=Path, default=Path("rdo-bench"), help="folder of files and reports")
    flags.add_argument("--kept", type=Path, metavar="FILE", help="figures to compare with (default: the README's)")
    flags.add_argument("--charts", type=Path, metavar="FOLDER", help="draw the chart there, light and dark")
    cli.add_picture_flags(flags)
    cli.add_model_flags(flags)
    add_pool_flags(flags)


def parse(arguments: argparse.Namespace) -> ReproduceSettings:
    """Check the flags and return them as settings.

    Raises:
        ConfigError: a bad value, or a chart that cannot be drawn.
    """
    from codec.images.read import ImagePolicy
    from jobs.measuring.plot import check_plot

    if arguments.charts:
        check_plot(arguments.charts / "chart.svg")
    return ReproduceSettings(
        inputs=tuple(arguments.inputs),
        output=arguments.output,
        kept=arguments.kept,
        policy=cli.from_flags(ImagePolicy, arguments),
        pool=cli.from_flags(PoolSettings, arguments),
        charts=arguments.charts,
    )


def run(settings: ReproduceSettings) -> int:
    """Measure, print the tables and what moved; return 1 if a picture failed. Without pictures show what is kept."""
    from jobs.measuring import figures

    kept_path = settings.kept or figures.kept_path()
    shown = kept = figures.read(kept_path)
    failed = False
    if settings.inputs:
        seen, squared = measure(settings)
        failed = bool(seen.failures or squared.failures)
        command = shlex.join(["rdo-bench", "reproduce", *settings.inputs])
        shown = figures.collect(command, seen, squared)
        figures.write(shown, settings.output / FILE)
    print(figures.tables(shown), end="")
    if settings.inputs:
        moved = figures.differences(kept, shown)
        for line in moved:
            cli.say(line)
        cli.say(f"{len(moved)} of {len(kept.values)} figures moved from {kept_path}; {settings.output / FILE} has all")
    if settings.charts:
        _draw(shown.curves, settings.charts)
    return cli.SOME_FAILED if failed else cli.DONE


def measure(settings: ReproduceSettings) -> "tuple[Report, Report]":
    """Compare for the eye, then for the mse.

    Raises:
        ConfigError: there are no pictures.
    """
    from jobs.comparing.run import measure as compare
    from jobs.comparing.run import write_report

    reports = []
    for comparison in (_comparison(settings, "visual"), _comparison(settings, None)):
        measured = compare(comparison)
        write_report(comparison.output, measured)
        reports.append(measured.report)
    return reports[0], reports[1]


def _comparison(settings: ReproduceSettings, tune: str | None) -> "CompareSettings":
    from jobs.comparing.ladders import runnable
    from jobs.comparing.run import CompareSettings, parse_recipes
    from jobs.running.refine_settings import RefineFlags

    return CompareSettings(
        inputs=settings.inputs,
        records=(),
        output=settings.output / (tune or "mse"),
        qualities=QUALITIES_SEEN if tune else QUALITIES_SQUARED,
        recipes=parse_recipes(None, RefineFlags(), settings.pool.model, tune),
        codecs=runnable(LADDERS_SEEN if tune else LADDERS_SQUARED),
        anchors=None,
        find_anchors=True,
        views=0,
        policy=settings.policy,
        pool=settings.pool,
        command="rdo-bench reproduce",
        json=False,
        tune=tune,
        plain_qualities=PLAIN_LADDER,
        bit_splits=False,
    )


def _draw(curves: dict[str, list[tuple[float, float]]], folder: Path) -> None:
    from jobs.measuring.plot import THEMES, plot_rates, write_plot

    folder.mkdir(parents=True, exist_ok=True)
    for theme in THEMES:
        write_plot(plot_rates(curves, theme), folder / f"kodak-{theme}.svg")
