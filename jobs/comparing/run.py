"""Comparison as a whole: encode what is missing, measure, and write the report. `rdo-compare` and `rdo-demo` run it."""

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from codec.files import write_atomically
from codec.images.read import ImagePolicy
from codec.interface import AnyCodec
from codec.settings import to_mapping
from jobs import cli
from jobs.comparing import LADDER, measurements
from jobs.comparing.anchors import AnchorSet
from jobs.comparing.build import build_report
from jobs.comparing.export import as_csv, as_markdown
from jobs.comparing.ladders import Available
from jobs.comparing.page import render
from jobs.comparing.points import load_records
from jobs.comparing.report import Report
from jobs.comparing.views import View
from jobs.pools.selection import PoolSettings, load_driver_codec, make_pool
from jobs.record import Record
from jobs.running.encode_settings import EncodeConfig
from jobs.running.refine_settings import RefineFlags, refine_config
from jobs.running.worklist import build_worklist
from rdo.config import RefineConfig
from rdo.presets import recipe
from rdo.tune import presets_of

NO_EXACT = "none, as exact files have no PSNR; rdo-encode takes them for screenshots, drawings and logos"


@dataclass(frozen=True)
class CompareSettings:
    """Pictures or finished runs to compare, and how.

    Attributes:
        inputs: files and folders to encode; empty where `records` are given.
        records: results.jsonl of finished runs, or their folders; empty where `inputs` are given.
        output: folder of the report.
        qualities: ladder of quality levels; None takes LADDER, or a fixed-rate model's only one.
        recipes: refinements; the one of most steps is reported as `refined`.
        codecs: ladders of classical codecs to encode with, and notes on those that cannot be run.
        anchors: published curves asked for.
        find_anchors: whether to look for published curves of the very pictures.
        views: number of pictures to show on the page.
        policy: conversion of pictures to 8-bit RGB.
        pool: model, device and workers.
        command: command line, for the report.
        json: whether to print the report as JSON instead of its tables.
        tune: what the refined files are to be good at (`rdo.tune`); None is what the model was trained for.
        plain_qualities: further quality levels at which plain encoding is measured, for a longer curve of it.
        bit_splits: whether to measure where the bits of each file went, some seconds a file.
    """

    inputs: tuple[str, ...]
    records: tuple[str, ...]
    output: Path
    qualities: tuple[float, ...] | None
    recipes: tuple[RefineConfig, ...]
    codecs: Available
    anchors: AnchorSet | None
    find_anchors: bool
    views: int
    policy: ImagePolicy
    pool: PoolSettings
    command: str
    json: bool
    tune: str | None = None
    plain_qualities: tuple[float, ...] = ()
    bit_splits: bool = True


class MeasuredReport(NamedTuple):
    """Report, and the views that only the page shows."""

    report: Report
    views: list[View]


def parse_recipes(
    iters: str | None, flags: RefineFlags, model: str, tune: str | None = None
) -> tuple[RefineConfig, ...]:
    """Return a recipe for each number of steps between commas; None takes that of --config or of the effort.

    Raises:
        ConfigError: no whole number of steps, or a bad file or value in the flags.
    """
    if not iters:
        return (refine_config(replace(flags, iters=None), model, tune),)
    steps = [cli.whole(value) for value in cli.numbers(iters, "--iters")]
    return tuple(refine_config(replace(flags, effort=None, iters=count), model, tune) for count in steps)


def compare(settings: CompareSettings) -> int:
    """Encode what is missing and write the report; return the exit status, 1 if any picture failed.

    Raises:
        ConfigError: no pictures or records, or a quality out of range.
    """
    measured = measure(settings)
    report = measured.report
    write_report(settings.output, measured)
    print(report.to_json() if settings.json else as_markdown(report), end="\n" if settings.json else "")
    cli.say(f"{settings.output / 'report.html'}: open it in a browser")
    return cli.SOME_FAILED if report.failures else cli.DONE


def measure(settings: CompareSettings) -> MeasuredReport:
    """Make a report from files that exist already or are written now."""
    folder, policy = settings.output, settings.policy
    codec = load_driver_codec(settings.pool)
    described = {"command": settings.command}
    if settings.records:
        records = load_records(list(settings.records))
    else:
        records = _encode_ladder(settings, codec)
        described["refinement"] = "; ".join(describe_recipe(recipe) for recipe in settings.recipes)
        described["exact blocks"] = NO_EXACT
    folder.mkdir(parents=True, exist_ok=True)
    points, unread = measurements.encode_classical(
        records, settings.codecs.ladders, policy, folder / measurements.CLASSICAL
    )
    if settings.records and not settings.codecs.ladders:
        points = measurements.known_classical(records, policy, folder / measurements.CLASSICAL)
    anchors, doubts = (
        measurements.find_anchors(records)
        if settings.find_anchors
        else measurements.check_anchors(settings.anchors, records)
    )
    views, unseen = measurements.make_views(
        records, codec, policy, count=settings.views, folder=folder / measurements.VIEWS
    )
    path = folder / measurements.BIT_SPLITS
    if settings.records or not settings.bit_splits:
        splits = measurements.known_splits(records, views, path)
    else:
        splits = measurements.measure_splits(records, codec, policy, path)
    report = build_report(
        records,
        classical=points,
        splits=splits,
        anchors=anchors,
        notes=[*settings.codecs.notes, *doubts, *unread, *unseen],
        settings=described,
    )
    return MeasuredReport(report, views)


def write_report(folder: Path, measured: MeasuredReport) -> None:
    """Write report.html, .json, .csv and .md, each whole or not at all."""
    report = measured.report
    texts = {
        "html": render(report, measured.views),
        "json": report.to_json(),
        "csv": as_csv(report),
        "md": as_markdown(report),
    }
    for suffix, text in texts.items():
        write_atomically(folder / f"report.{suffix}", text.encode("utf-8", "backslashreplace"))  # names may be no UTF-8


def describe_recipe(config: RefineConfig) -> str:
    """List the settings of a refinement that its method uses."""
    search = {"iters", "method", "temperature_bits", "move_fraction_start", "move_fraction_end", "time_budget", "seed"}
    shown = to_mapping(config).items()
    return ", ".join(f"{k} {v}" for k, v in shown if v is not None and (config.method != "rdoq" or k in search))


def _encode_ladder(settings: CompareSettings, codec: AnyCodec) -> list[Record]:
    """Encode every picture at every quality with every recipe, but for files that exist already."""
    qualities = settings.qualities or (LADDER if codec.variable_rate else (codec.default_quality,))
    plain = [quality for quality in settings.plain_qualities if quality not in qualities]
    for quality in (*qualities, *plain):
        codec.level(quality)  # raises where it is out of range, before anything is written
    items = build_worklist(list(settings.inputs), str(settings.output))
    settings.output.mkdir(parents=True, exist_ok=True)
    sources = (items[0].input,)
    with closing(make_pool(settings.pool, codec, len(items), shared=str(settings.output), sources=sources)) as pool:
        rungs = [measurements.Rung(quality, each) for each in settings.recipes for quality in qualities]
        rungs += [measurements.Rung(quality, recipe(0, presets=presets_of(settings.tune))) for quality in plain]
        return measurements.encode_ladder(
            inputs=list(settings.inputs),
            folder=settings.output,
            codec=codec,
            config=EncodeConfig(settings.pool.model, policy=settings.policy, tune=settings.tune, exact="never"),
            rungs=rungs,
            pool=pool,
        )
