"""`rdo-bench refine`: gain against seconds of several ways to refine, from written files.

A way is a method or a YAML file, with a number of steps and one varied setting. Files are kept in the output folder, so
that a second run encodes only what is missing.
"""

import argparse
import itertools
import json
import statistics
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import cli
from jobs.pools.selection import PoolSettings, add_pool_flags

if TYPE_CHECKING:
    from codec.images.pixels import Pixels
    from codec.images.read import ImagePolicy
    from codec.interface import AnyCodec
    from jobs.measuring.ways import Way
    from jobs.pools.base import Pool
    from jobs.record import Record
    from jobs.running.encode_settings import EncodeConfig

LADDER = (2.0, 4.0, 6.0)
STEP_REPEATS = 5  # timed calls of a bare step


@dataclass(frozen=True)
class RefinementSettings:
    """Pictures, qualities and ways to refine that are measured.

    Attributes:
        inputs: files and folders.
        output: folder of the encoded files.
        ways: refinements.
        qualities: quality levels; None takes LADDER, or a fixed-rate model's only one.
        policy: conversion of pictures to 8-bit RGB.
        pool: model, device and workers.
        plot: file to draw, if any.
        json: whether to print rows as JSON.
    """

    inputs: tuple[str, ...]
    output: Path
    ways: "tuple[Way, ...]"
    qualities: tuple[float, ...] | None
    policy: "ImagePolicy"
    pool: PoolSettings
    plot: Path | None
    json: bool


@dataclass(frozen=True)
class Row:
    """Means over pictures of one way to refine at one quality; `spread_percent` is the gain's standard deviation."""

    name: str
    quality: float
    iters: int
    pictures: int
    gain_percent: float
    spread_percent: float
    seconds: float
    step_seconds: float


def add_flags(flags: argparse.ArgumentParser) -> None:
    """Add the flags of `rdo-bench refine`."""
    ladder = ",".join(f"{quality:g}" for quality in LADDER)
    flags.add_argument("inputs", nargs="+", metavar="PICTURE", help="files or folders; a second run encodes the rest")
    flags.add_argument("-o", "--output", type=Path, default=Path("rdo-bench"), help="folder of the encoded files")
    flags.add_argument("--methods", default="rdoq,sga", help="methods, or YAML files as in configs/refine")
    flags.add_argument("--iters", default="10,25,50,100", help="refinement steps")
    flags.add_argument("--qualities", help=f"quality levels, 1 to 8 (default {ladder}; or a model's only one)")
    flags.add_argument("--vary", metavar="KEY=A,B", help="values of one setting, each tried with every method")
    flags.add_argument("--seed", type=int, help="seed of the noise (default 0)")
    flags.add_argument("--plot", type=Path, metavar="FILE", help="plot gain against seconds, as .svg or .png")
    flags.add_argument("--json", action="store_true", help="print rows as JSON, one a line")
    cli.add_picture_flags(flags)
    cli.add_model_flags(flags)
    add_pool_flags(flags)


def parse(arguments: argparse.Namespace) -> RefinementSettings:
    """Check the flags and return them as settings.

    Raises:
        ConfigError: an unknown method or setting, a bad value, or a plot that cannot be drawn.
    """
    from codec.images.read import ImagePolicy
    from jobs.measuring.plot import check_plot
    from jobs.measuring.ways import parse_ways
    from jobs.running.refine_settings import RefineFlags

    check_plot(arguments.plot)
    return RefinementSettings(
        inputs=tuple(arguments.inputs),
        output=arguments.output,
        ways=parse_ways(
            methods=arguments.methods.split(","),
            iters=[cli.whole(value) for value in cli.numbers(arguments.iters, "--iters")],
            vary=arguments.vary,
            flags=RefineFlags(seed=arguments.seed),
            model=arguments.model,
        ),
        qualities=tuple(cli.numbers(arguments.qualities, "--qualities")) if arguments.qualities else None,
        policy=cli.from_flags(ImagePolicy, arguments),
        pool=cli.from_flags(PoolSettings, arguments),
        plot=arguments.plot,
        json=arguments.json,
    )


def run(settings: RefinementSettings) -> int:
    """Encode what is missing and print a row for each quality and way; return 1 if any picture failed."""
    from jobs.measuring.plot import plot_gain, write_plot
    from jobs.pools.selection import load_driver_codec, make_pool
    from jobs.running.worklist import build_worklist

    codec = load_driver_codec(settings.pool)
    qualities = settings.qualities or (LADDER if codec.variable_rate else (codec.default_quality,))
    for quality in qualities:
        codec.level(quality)  # raises where it is out of range, before anything is written
    failed, rows = False, []
    pictures = len(build_worklist(list(settings.inputs), str(settings.output)))
    settings.output.mkdir(parents=True, exist_ok=True)
    with closing(make_pool(settings.pool, codec, pictures, shared=settings.output)) as pool:
        for quality, way, records in _encode_all(settings, qualities, codec, pool):
            failed |= any(record.error for record in records)
            if row := summarise(way, quality, records):
                rows.append(row)
                print(json.dumps(asdict(row)) if settings.json else format_row(row), flush=True)
    if settings.plot and rows:
        write_plot(plot_gain(way_curves(rows)), settings.plot)
    if rows and not settings.pool.in_workers and (pixels := _largest_picture(settings)):
        seconds = step_seconds(codec, pixels, qualities[0])
        cli.say(f"a bare forward and backward pass of the largest picture takes {seconds:.3f} s")
    return cli.SOME_FAILED if failed else cli.DONE


def summarise(way: "Way", quality: float, records: "list[Record]") -> Row | None:
    """Average the records that have an outcome and steps; None where there are none."""
    done = [r.outcome for r in records if r.outcome and r.outcome.refine_seconds and r.outcome.iters]
    if not done:
        return None
    gains = [outcome.gain_percent for outcome in done]
    seconds = [outcome.refine_seconds or 0.0 for outcome in done]
    return Row(
        name=way.name,
        quality=quality,
        iters=way.refine.iters,
        pictures=len(done),
        gain_percent=statistics.fmean(gains),
        spread_percent=statistics.stdev(gains) if len(gains) > 1 else 0.0,
        seconds=statistics.fmean(seconds),
        step_seconds=statistics.fmean(s / outcome.iters for s, outcome in zip(seconds, done, strict=True)),
    )


def way_curves(rows: list[Row]) -> dict[str, list[tuple[float, float]]]:
    """Return (seconds, gain in percent) of each way at each quality, over its numbers of steps."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        found.setdefault(f"{row.name}, quality {row.quality:g}", []).append((row.seconds, row.gain_percent))
    return found


def format_row(row: Row) -> str:
    """Format a row as a line of a table."""
    gain = f"{row.gain_percent:5.2f} % (+-{row.spread_percent:.2f})"
    return f"{row.name:24} q {row.quality:<4g} {row.iters:5d} steps {row.seconds:8.2f} s  gain {gain}"


def step_seconds(codec: "AnyCodec", pixels: "Pixels", quality: float) -> float:
    """Time the fastest forward and backward pass of rate and distortion, the lower bound of a refinement step."""
    from jobs.measuring.stages import refinement_step
    from jobs.measuring.timing import time_calls

    level = codec.level(quality)
    return time_calls(refinement_step(codec, pixels, level), level.device, STEP_REPEATS).seconds_least


def _encode_all(
    settings: RefinementSettings, qualities: tuple[float, ...], codec: "AnyCodec", pool: "Pool"
) -> "Iterator[tuple[float, Way, list[Record]]]":
    """Encode all pictures at each quality with each way; files that exist already are taken from their records."""
    from jobs.running.encode_settings import EncodeConfig

    for quality, way in itertools.product(qualities, settings.ways):
        config = EncodeConfig(settings.pool.model, quality, refine=way.refine, policy=settings.policy, exact="never")
        folder = settings.output / f"q{quality:g}" / f"{way.name}-i{way.refine.iters}"
        yield quality, way, _encode(settings.inputs, folder, codec, config=config, pool=pool)


def _encode(
    inputs: tuple[str, ...], folder: Path, codec: "AnyCodec", *, config: "EncodeConfig", pool: "Pool"
) -> "list[Record]":
    """Encode all pictures with one configuration into a folder; print the errors of those that fail."""
    from jobs.running.run import RESULTS, run
    from jobs.running.worklist import build_worklist

    folder.mkdir(parents=True, exist_ok=True)
    items = build_worklist(list(inputs), str(folder))
    records = list(run(items, codec, config, folder / RESULTS, overwrite=False, pool=pool))
    for record in records:
        if record.error:
            cli.say(f"{record.input}: {record.error}")
    return records


def _largest_picture(settings: RefinementSettings) -> "Pixels | None":
    """Read the largest picture that can be read; the records of the others hold their errors."""
    from codec.errors import ImageError
    from codec.images.read import read_image
    from jobs.running.worklist import build_worklist

    for item in build_worklist(list(settings.inputs), str(settings.output)):  # the largest first
        try:
            return read_image(Path(item.input), settings.policy)
        except ImageError:
            continue
    return None
