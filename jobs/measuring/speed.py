"""`rdo-bench speed`: seconds and peak memory of each stage, for pictures of several sizes, on this machine."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import cli
from jobs.runtime import check_device

if TYPE_CHECKING:
    from jobs.measuring.inputs import Size
    from jobs.measuring.stages import Stage, StageInputs

# names for --ways -> names in codec.networks.baselines.variants
VARIANTS = {"cached": "EGR + SFG + cache", "naive": "EGR + SFG", "plain": "plain groups", "serial": "Contextformer"}
# arXiv:2306.14287: decoding time of Contextformer over eContextformer; growth of pixels and of time, 4K over Kodak
PRINTED_RATIO, PRINTED_PIXEL_GROWTH, PRINTED_TIME_GROWTH = 210, 21, 14


@dataclass(frozen=True)
class SpeedSettings:
    """Model, picture sizes and context model variants to time; `plot` is a file to draw, if any."""

    model: str
    device: str
    sizes: "dict[str, Size]"
    variants: tuple[str, ...]
    repeats: int
    quality: float
    plot: Path | None
    json: bool


@dataclass(frozen=True)
class Row:
    """Timing of one stage on one size of picture: median seconds and their range, peak bytes of the process or GPU.

    `scaled` is the factor already in its seconds: 1, but for the serial model, of which a corner is timed.
    """

    model: str
    device: str
    threads: int
    size: str
    pixels: int
    stage: str
    seconds: float
    seconds_least: float
    seconds_most: float
    peak_bytes: int | None
    scaled: float


def add_flags(flags: argparse.ArgumentParser) -> None:
    """Add the flags of `rdo-bench speed`."""
    flags.add_argument("--sizes", default="kodak", help="picture sizes: kodak, 2k, 4k, WIDTHxHEIGHT, between commas")
    flags.add_argument(
        "--ways", default="cached,naive,plain,serial", help="implementations of the context model to time"
    )
    flags.add_argument("--repeats", type=int, default=5, help="timed calls of each stage")
    flags.add_argument("--quality", type=float, default=4.0, help="quality level, 1 to 8")
    flags.add_argument("--plot", type=Path, metavar="FILE", help="plot time against pixels, as .svg or .png")
    flags.add_argument("--json", action="store_true", help="print rows as JSON, one a line")
    cli.add_model_flags(flags)


def parse(arguments: argparse.Namespace) -> SpeedSettings:
    """Check the flags and return them as settings.

    Raises:
        ConfigError: an unknown variant, no repeats, a size that is none, or a plot that cannot be drawn.
    """
    from codec.errors import ConfigError
    from jobs.measuring.inputs import check_repeats, parse_sizes
    from jobs.measuring.plot import check_plot

    variants = tuple(name for name in arguments.ways.split(",") if name)
    if unknown := set(variants) - set(VARIANTS):
        raise ConfigError(f"--ways {', '.join(sorted(unknown))}: choose from {', '.join(VARIANTS)}")
    check_repeats(arguments.repeats)
    check_plot(arguments.plot)
    return SpeedSettings(
        model=arguments.model,
        device=arguments.device,
        sizes=parse_sizes(arguments.sizes),
        variants=variants,
        repeats=arguments.repeats,
        quality=arguments.quality,
        plot=arguments.plot,
        json=arguments.json,
    )


def run(settings: SpeedSettings) -> int:
    """Time every stage at every size and print a row for each, then the ratios that the paper prints."""
    from jobs.measuring.inputs import load_bench_codec, synthetic_picture
    from jobs.measuring.plot import plot_seconds, write_plot
    from jobs.measuring.stages import prepare

    codec, trained = load_bench_codec(settings.model, check_device(settings.device))
    if not trained:
        cli.say(f"{settings.model}: random weights, the content of files and what depends on it mean nothing")
    rows = []
    for name, size in settings.sizes.items():
        inputs = prepare(codec, synthetic_picture(size), settings.quality)
        for row in time_stages(inputs, name, settings.variants, settings.repeats):
            rows.append(row)
            print(json.dumps(asdict(row)) if settings.json else format_row(row), flush=True)
    for ratio in [*variant_ratios(rows), *growth_ratios(rows)]:
        cli.say(ratio)
    if settings.plot:
        write_plot(plot_seconds(stage_curves(rows)), settings.plot)
    return cli.DONE


def time_stages(inputs: "StageInputs", size: str, variants: tuple[str, ...], repeats: int) -> Iterator[Row]:
    """Yield a row for each stage as it is timed; variants come last, in the order of VARIANTS."""
    import torch

    from jobs.measuring.stages import coding_stages, context_stage
    from jobs.measuring.timing import time_calls

    device = inputs.level.device
    stages: dict[str, Stage] = coding_stages(inputs)
    for name in [*stages, *(f"context, {variant}" for variant in VARIANTS if variant in variants)]:
        call, factor = stages.get(name), 1.0
        if call is None:
            call, factor = context_stage(inputs, VARIANTS[name.removeprefix("context, ")])
        timing = time_calls(call, device, repeats)
        yield Row(
            model=inputs.codec.config.name,
            device=str(device),
            threads=torch.get_num_threads(),
            size=size,
            pixels=inputs.pixels.width * inputs.pixels.height,
            stage=name,
            seconds=timing.seconds * factor,
            seconds_least=timing.seconds_least * factor,
            seconds_most=timing.seconds_most * factor,
            peak_bytes=timing.peak_bytes,
            scaled=factor,
        )


def variant_ratios(rows: list[Row]) -> list[str]:
    """Return a sentence on each variant's time over that of the cached context model."""
    seconds = {(row.size, row.stage): row.seconds for row in rows}
    found = []
    for size in dict.fromkeys(row.size for row in rows):
        cached = seconds.get((size, "context, cached"))
        for variant in ("plain", "naive", "serial"):
            other = seconds.get((size, f"context, {variant}"))
            if cached is not None and other is not None:
                printed = f" (the paper: {PRINTED_RATIO})" if variant == "serial" else ""
                found.append(f"{size}: {variant} context model over cached: {other / cached:.1f}{printed}")
    return found


def growth_ratios(rows: list[Row]) -> list[str]:
    """Return how encoding and decoding time grow from the smallest to the largest picture."""
    seconds = {(row.size, row.stage): row.seconds for row in rows}
    least, most = (pick(rows, key=lambda row: row.pixels) for pick in (min, max))
    if most.pixels == least.pixels:
        return []
    return [
        f"{stage}: {seconds[most.size, stage] / seconds[least.size, stage]:.1f} times the time for "
        f"{most.pixels / least.pixels:.1f} times the pixels "
        f"(the paper: {PRINTED_TIME_GROWTH} for {PRINTED_PIXEL_GROWTH})"
        for stage in ("encode", "decode")
    ]


def stage_curves(rows: list[Row]) -> dict[str, list[tuple[float, float]]]:
    """Return (megapixels, seconds) of each stage."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        found.setdefault(row.stage, []).append((row.pixels / 1e6, row.seconds))
    return found


def format_row(row: Row) -> str:
    """Format a row as a line of a table."""
    spread = f"{row.seconds_least:.4f} .. {row.seconds_most:.4f}"
    memory = "" if row.peak_bytes is None else f"{row.peak_bytes / 2**20:8.0f} MiB"
    note = "" if row.scaled == 1 else f"  (a corner, times {row.scaled:g})"
    return f"{row.model:8} {row.size:10} {row.stage:18} {row.seconds:10.4f} s  {spread:22} {memory}{note}"
