"""`rdo-bench speed`: seconds and peak memory of each stage, for pictures of several sizes, on this machine."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import cli

if TYPE_CHECKING:
    from jobs.measuring.stages import Stage, Subject

WAYS = {"cached": "EGR + SFG + cache", "naive": "EGR + SFG", "plain": "plain groups", "serial": "Contextformer"}
PRINTED_RATIO, PRINTED_GROWTH = 210, (21, 14)  # Contextformer over eContextformer; times for pixels, 4K over Kodak


@dataclass(frozen=True)
class Row:
    """One stage on one size of picture: median seconds and their range; peak bytes of the process, or of the GPU.

    `scaled` is what its seconds were multiplied by: 1, but for the serial model, of which a corner is timed.
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
    """All flags of the command."""
    flags.add_argument("--sizes", default="kodak", help="of pictures: kodak, 2k, 4k, WIDTHxHEIGHT, between commas")
    flags.add_argument("--ways", default="cached,naive,plain,serial", help="of the context model's steps")
    flags.add_argument("--repeats", type=int, default=5, help="timed calls of each stage")
    flags.add_argument("--quality", type=float, default=4.0)
    flags.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw time against pixels")
    flags.add_argument("--json", action="store_true", help="print rows as JSON, one a line")
    cli.add_model_flags(flags)


def run(arguments: argparse.Namespace) -> int:
    """Time every stage at every size; then what the paper prints."""
    from codec.errors import ConfigError
    from codec.files import write_atomically
    from jobs.measuring.plot import time_plot
    from jobs.measuring.stages import subject
    from jobs.measuring.steps import bench_codec, picture, sizes

    if unknown := set(arguments.ways.split(",")) - set(WAYS) - {""}:
        raise ConfigError(f"--ways {', '.join(sorted(unknown))}: choose from {', '.join(WAYS)}")
    if arguments.repeats < 1:
        raise ConfigError(f"--repeats {arguments.repeats}: must be at least 1")
    chosen = sizes(arguments.sizes)
    codec, trained = bench_codec(arguments.model, cli.check_device(arguments.device))
    if not trained:
        cli.say(f"{arguments.model}: random weights, the content of files and what depends on it mean nothing")
    rows = []
    for name, (width, height) in chosen.items():
        on = subject(codec, picture(width, height), arguments.quality)
        for row in time_stages(on, name, arguments.ways.split(","), arguments.repeats):
            rows.append(row)
            print(json.dumps(asdict(row)) if arguments.json else line(row), flush=True)
    for ratio in ratios(rows):
        cli.say(ratio)
    if arguments.plot:
        write_atomically(arguments.plot, time_plot(lines(rows)).encode())
    return cli.DONE


def time_stages(on: "Subject", name: str, ways: list[str], repeats: int) -> Iterator[Row]:
    """Rows as they are measured."""
    import torch

    from jobs.measuring.stages import coding_stages, context_stage
    from jobs.measuring.steps import measure

    device = on.level.device
    stages: dict[str, tuple[Stage, float]] = {stage: (call, 1.0) for stage, call in coding_stages(on).items()}
    for stage in [*stages, *(f"context, {way}" for way in WAYS if way in ways)]:
        call, scale = stages[stage] if stage in stages else context_stage(on, WAYS[stage.removeprefix("context, ")])
        timing = measure(call, device, repeats)
        yield Row(
            model=on.codec.config.name,
            device=str(device),
            threads=torch.get_num_threads(),
            size=name,
            pixels=on.pixels.width * on.pixels.height,
            stage=stage,
            seconds=timing.seconds * scale,
            seconds_least=timing.seconds_least * scale,
            seconds_most=timing.seconds_most * scale,
            peak_bytes=timing.peak_bytes,
            scaled=scale,
        )


def ratios(rows: list[Row]) -> list[str]:
    """The paper's claims that these rows bear on."""
    seconds = {(row.size, row.stage): row.seconds for row in rows}
    found = []
    for size in dict.fromkeys(row.size for row in rows):
        for way in ("plain", "naive", "serial"):
            found_both = {(size, f"context, {way}"), (size, "context, cached")} <= seconds.keys()
            if found_both:
                ratio = seconds[size, f"context, {way}"] / seconds[size, "context, cached"]
                paper = f" (the paper: {PRINTED_RATIO})" if way == "serial" else ""
                found.append(f"{size}: {way} context model over cached: {ratio:.1f}{paper}")
    least, most = (pick(rows, key=lambda row: row.pixels) for pick in (min, max))
    if most.pixels > least.pixels:
        for stage in ("encode", "decode"):
            growth = seconds[most.size, stage] / seconds[least.size, stage]
            found.append(
                f"{stage}: {growth:.1f} times the time for {most.pixels / least.pixels:.1f} times the pixels "
                f"(the paper: {PRINTED_GROWTH[1]} for {PRINTED_GROWTH[0]})"
            )
    return found


def lines(rows: list[Row]) -> dict[str, list[tuple[float, float]]]:
    """Megapixels and seconds of each stage."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        found.setdefault(row.stage, []).append((row.pixels / 1e6, row.seconds))
    return found


def line(row: Row) -> str:
    """A row for people."""
    spread = f"{row.seconds_least:.4f} .. {row.seconds_most:.4f}"
    memory = "" if row.peak_bytes is None else f"{row.peak_bytes / 2**20:8.0f} MiB"
    note = "" if row.scaled == 1 else f"  (a corner, times {row.scaled:g})"
    return f"{row.model:8} {row.size:10} {row.stage:18} {row.seconds:10.4f} s  {spread:22} {memory}{note}"
