"""`rdo-bench`: what refinement gains for its seconds, and what the codec costs in operations and time.

`refine` is here: gain against seconds of every way to refine, from written files, and a step against its floor. The
others have a module each.
"""

import argparse
import itertools
import statistics
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import cli
from jobs.encode import refine_settings
from jobs.measuring import complexity, roofline, speed
from jobs.pools.selection import add_pool_flags

if TYPE_CHECKING:
    from codec.coding import AnyCodec
    from codec.images.pixels import Pixels
    from codec.images.read import ImagePolicy
    from jobs.pools.base import Pool
    from jobs.record import Record
    from jobs.running.encode_settings import EncodeConfig
    from rdo.config import RefineConfig

EXAMPLES = """\
  rdo-bench refine photos/                                          rdoq and sga, 10 to 100 steps, qualities 2, 4, 6
  rdo-bench refine --methods rdoq,sga,ste,soft.yaml --iters 25,100 photos/ -o bench/
  rdo-bench refine --vary temperature_bits=0,1,2 --iters 40 photos/ one setting at a time
  rdo-bench complexity                                              operations and parameters of each part
  rdo-bench speed --model base --sizes kodak,4k --plot speed.svg    seconds and memory of each stage
  rdo-bench roofline --model small                                  each stage against this machine's floor"""
LADDER = "2,4,6"
FLOOR_REPEATS = 5


@dataclass(frozen=True)
class Row:
    """One way to refine at one quality: means over pictures, `spread` their standard deviation."""

    name: str
    quality: float
    iters: int
    pictures: int
    gain_percent: float
    spread_percent: float
    seconds: float
    step_seconds: float


def build_parser() -> argparse.ArgumentParser:
    """All flags of the command."""
    flags = cli.parser("rdo-bench", "Measure refinement, operations, speed.", EXAMPLES)
    commands = flags.add_subparsers(dest="what", required=True, metavar="WHAT")
    add = partial(commands.add_parser, formatter_class=flags.formatter_class)
    _add_refine_flags(add("refine", help="gain against seconds of ways to refine"))
    complexity.add_flags(add("complexity", help="parameters and operations of each part"))
    speed.add_flags(add("speed", help="seconds and memory of each stage, by size of picture"))
    roofline.add_flags(add("roofline", help="each stage against the floor of this machine"))
    return flags


def _add_refine_flags(flags: argparse.ArgumentParser) -> None:
    flags.add_argument("inputs", nargs="+", metavar="PICTURE", help="files or folders; a second run does the rest only")
    flags.add_argument("-o", "--output", type=Path, default=Path("rdo-bench"), help="folder")
    flags.add_argument("--methods", default="rdoq,sga", help="methods, or YAML files as in configs/refine")
    flags.add_argument("--iters", default="10,25,50,100", help="steps")
    flags.add_argument("--qualities", help="1 to 8 (default 2,4,6; or a model's only one)")
    flags.add_argument("--vary", metavar="KEY=A,B", help="values of one setting, each with every method")
    flags.add_argument("--seed", type=int, help="of the noise (default 0)")
    flags.add_argument("--plot", type=Path, metavar="FILE", help="plot gain against seconds, as .svg or .png")
    flags.add_argument("--json", action="store_true", help="print rows as JSON, one a line")
    cli.add_picture_flags(flags)
    cli.add_model_flags(flags)
    add_pool_flags(flags)


def main(argv: list[str] | None = None) -> int:
    """Entry point; see `cli` for exit statuses."""
    arguments = build_parser().parse_args(argv)
    commands = {
        "refine": lambda: bench(arguments),
        "complexity": lambda: complexity.run(complexity.parse(arguments)),
        "speed": lambda: speed.run(speed.parse(arguments)),
        "roofline": lambda: roofline.run(roofline.parse(arguments)),
    }
    return cli.guarded(commands[arguments.what])


def bench(arguments: argparse.Namespace) -> int:
    """Encode what is missing, one row after another; 1 if any picture failed."""
    import json
    from contextlib import closing

    from codec.images.read import ImagePolicy
    from jobs.measuring.plot import check_plot, plot_gain, write_plot
    from jobs.pools.selection import elsewhere, hire, load_driver_codec
    from jobs.running.encode_settings import EncodeConfig
    from jobs.running.worklist import build_worklist

    check_plot(arguments.plot)
    ways = settings(arguments)
    policy = ImagePolicy(arguments.alpha, arguments.depth, arguments.first_frame)
    codec = load_driver_codec(arguments)
    ladder = LADDER if codec.variable_rate else f"{codec.default_quality}"
    qualities = cli.numbers(arguments.qualities or ladder, "--qualities")
    for quality in qualities:
        codec.level(quality)  # refuses what is out of range, before anything is made
    failed = False
    rows = []
    pictures = len(build_worklist(arguments.inputs, str(arguments.output)))
    arguments.output.mkdir(parents=True, exist_ok=True)
    with closing(hire(arguments, codec, pictures, arguments.output)) as pool:
        for quality, (name, refine) in itertools.product(qualities, ways):
            config = EncodeConfig(arguments.model, quality, refine=refine, policy=policy)
            target = arguments.output / f"q{quality:g}" / f"{name}-i{refine.iters}"
            records = encode(arguments.inputs, target, codec, config, pool)
            failed |= any(record.error for record in records)
            if row := summarise(name, quality, refine, records):
                rows.append(row)
                print(json.dumps(asdict(row)) if arguments.json else line(row), flush=True)
    if arguments.plot and rows:
        write_plot(plot_gain(lines(rows)), arguments.plot)
    if rows and not elsewhere(arguments) and (pixels := largest_picture(arguments, policy)):
        floor = floor_seconds(codec, pixels, qualities[0])
        cli.say(f"a bare forward and backward pass of the largest picture takes {floor:.3f} s")
    return cli.SOME_FAILED if failed else cli.DONE


def settings(arguments: argparse.Namespace) -> "list[tuple[str, RefineConfig]]":
    """A name and a configuration for each method, number of steps and varied value.

    Raises:
        ConfigError: an unknown method, setting or value.
    """
    from codec.errors import ConfigError
    from codec.settings import override

    if arguments.vary and "=" not in arguments.vary:
        raise ConfigError(f"--vary {arguments.vary}: write KEY=VALUE,VALUE")
    key, _, values = (arguments.vary or "").partition("=")
    ways = []
    for method in arguments.methods.split(","):
        path = Path(method) if method.endswith((".yaml", ".yml")) else None
        for iters in cli.numbers(arguments.iters, "--iters"):
            way = {"config": path, "effort": None, "iters": cli.whole(iters), "method": None if path else method}
            given = argparse.Namespace(**{**vars(arguments), **way})
            base = refine_settings(given)
            name = path.stem if path else method
            ways += [(f"{name}-{key}{v}", override(base, {key: v})) for v in values.split(",") if v] or [(name, base)]
    for (name, iters), count in Counter((name, refine.iters) for name, refine in ways).items():
        if not iters:
            raise ConfigError(f"{name}: 0 steps refine nothing: give 1 or more")
        if count > 1:
            raise ConfigError(f"{count} ways are called {name} with {iters} steps: leave one out, or rename its file")
    return ways


def encode(inputs: list[str], target: Path, codec: "AnyCodec", config: "EncodeConfig", pool: "Pool") -> "list[Record]":
    """Records of one configuration; what is done already is taken from its records."""
    from jobs.running.run import RESULTS, run
    from jobs.running.worklist import build_worklist

    target.mkdir(parents=True, exist_ok=True)
    records = list(run(build_worklist(inputs, str(target)), codec, config, target / RESULTS, False, pool))
    for record in records:
        if record.error:
            cli.say(f"{record.input}: {record.error}")
    return records


def summarise(name: str, quality: float, refine: "RefineConfig", records: "list[Record]") -> Row | None:
    """Means over the pictures that did not fail."""
    done = [r.outcome for r in records if r.outcome and r.outcome.refine_seconds and r.outcome.iters]
    if not done:
        return None
    gains = [found.gain_percent for found in done]
    seconds = [found.refine_seconds or 0.0 for found in done]
    steps = [s / found.iters for s, found in zip(seconds, done, strict=True)]
    spread = statistics.stdev(gains) if len(gains) > 1 else 0.0
    mean = statistics.fmean
    return Row(name, quality, refine.iters, len(done), mean(gains), spread, mean(seconds), mean(steps))


def lines(rows: list[Row]) -> dict[str, list[tuple[float, float]]]:
    """Seconds and gain of each way at each quality, over its numbers of steps."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        found.setdefault(f"{row.name}, quality {row.quality:g}", []).append((row.seconds, row.gain_percent))
    return found


def line(row: Row) -> str:
    """A row for people."""
    gain = f"{row.gain_percent:5.2f} % (+-{row.spread_percent:.2f})"
    return f"{row.name:24} q {row.quality:<4g} {row.iters:5d} steps {row.seconds:8.2f} s  gain {gain}"


def largest_picture(arguments: argparse.Namespace, policy: "ImagePolicy") -> "Pixels | None":
    """Of those that can be read."""
    from codec.errors import ImageError
    from codec.images.read import read_image
    from jobs.running.worklist import build_worklist

    for item in build_worklist(arguments.inputs, str(arguments.output)):
        try:
            return read_image(Path(item.input), policy)
        except ImageError:
            continue  # its record says why
    return None


def floor_seconds(codec: "AnyCodec", pixels: "Pixels", quality: float) -> float:
    """Least time of one forward and backward pass of rate and distortion through the frozen networks."""
    from jobs.measuring.stages import refinement_step
    from jobs.measuring.timing import time_calls

    level = codec.level(quality)
    return time_calls(refinement_step(codec, pixels, level), level.device, FLOOR_REPEATS).seconds_least
