"""`rdo-encode`: a folder of photos to verified, refined .rdo files."""

import argparse
import math
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs import cli
from jobs.pools.selection import add_pool_flags

if TYPE_CHECKING:
    from collections.abc import Iterable

    from codec.coding import AnyCodec
    from codec.images.read import ImagePolicy
    from jobs.record import Record
    from jobs.running.encode_settings import EncodeConfig
    from jobs.running.worklist import Item
    from rdo.config import RefineConfig

EXAMPLES = """\
  rdo-encode --iters 500 photos/            rdo-out/*.rdo, rdo-out/results.jsonl
  rdo-encode --quality 6 -o a.rdo a.png     one file
  rdo-encode --iters 0 -o plain/ photos/    plain encoding, one pass
  rdo-encode -j 4 photos/                   four pictures at a time
  rdo-encode --ray --address head:6379 /share/photos/ -o /share/out
  rdo-encode - < a.png > a.rdo              standard input and output"""


def build_parser() -> argparse.ArgumentParser:
    """All flags of the command."""
    flags = cli.parser("rdo-encode", "Encode pictures, spending time to make the files smaller.", EXAMPLES)
    flags.add_argument("inputs", nargs="+", metavar="PICTURE", help="files or folders; - is standard input")
    flags.add_argument("-o", "--output", help="folder (default rdo-out), or one .rdo file; - is standard output")
    rate = flags.add_argument_group("rate")
    rate.add_argument("--quality", type=float, help="1 (smallest) to 8 (best), continuous (default 4)")
    rate.add_argument("--lmbda", type=float, help="weight of mse (0..255) against bpp, default: what fits the quality")
    rate.add_argument(
        "--target-bytes",
        type=int,
        metavar="N",
        help="file size, never above it; at most 1 %% below, if quality 8 fills it",
    )
    rate.add_argument("--target-bpp", type=float, help="the same in bits per pixel")
    rate.add_argument("--target-psnr", type=float, metavar="DB", help="PSNR, to 0.05 dB")
    rate.add_argument(
        "--ms-ssim", type=float, metavar="SHARE", help="its share of the distortion, 0 to 1; the rest is mse"
    )
    rate.add_argument("--roi", type=Path, metavar="MASK", help="picture, white where errors matter most")
    rate.add_argument("--roi-weight", type=float, metavar="W", help="of white against black (default 8)")
    search = flags.add_argument_group("refinement: how much, then details that override it")
    much = search.add_mutually_exclusive_group()
    much.add_argument("--effort", type=int, metavar="1..9", help="preset of configs/refine (default 5)")
    much.add_argument("--config", type=Path, metavar="YAML", help="settings of your own, as in configs/refine")
    search.add_argument("--iters", type=int, help="steps, with what suits them or the effort; 0 is plain encoding")
    search.add_argument(
        "--method", help="rdoq, or a relaxation: sga, linear, ... (default rdoq; sga for compressai: models)"
    )
    search.add_argument("--time-budget", type=float, metavar="S", help="about S seconds of refinement per picture")
    search.add_argument("--patience", type=int, help="stop after this many looks without a gain (0: never)")
    search.add_argument("--seed", type=int, help="of the noise (default 0)")
    search.add_argument(
        "--memory-limit", type=float, metavar="GIB", dest="memory_gib",
        help="of the process while it refines; less takes longer (default: strips of 2 megapixels; of a GPU most)",
    )  # fmt: skip
    cli.add_picture_flags(flags)
    run = flags.add_argument_group("run")
    run.add_argument("--overwrite", action="store_true", help="encode again what is done; replace existing files")
    run.add_argument(
        "--dry-run", action="store_true", help="list what would be written; checks settings and headers, not pixels"
    )
    run.add_argument("--json", action="store_true", help="print records, a JSON object a line, instead of the table")
    cli.add_model_flags(run)
    add_pool_flags(flags)
    return flags


def main(argv: list[str] | None = None) -> int:
    """Entry point; see `cli` for exit statuses."""
    arguments = build_parser().parse_args(argv)
    return cli.guarded(lambda: encode(arguments))


def encode(arguments: argparse.Namespace) -> int:
    """Encode what the arguments name; 1 if any picture failed."""
    from jobs.running.worklist import STDIO, build_worklist, names_one_file

    items = build_worklist(arguments.inputs, arguments.output)
    refine_config = refine_settings(arguments)
    from contextlib import closing

    from codec.errors import ConfigError
    from jobs.pools.selection import elsewhere, hire, load_driver_codec
    from jobs.running.run import RESULTS, plan, run
    from jobs.running.table import summary

    standard = STDIO in (items[0].input, items[0].output)
    if standard and elsewhere(arguments):
        raise ConfigError("-: standard input and output belong to this process: leave out --ray, -j and time limits")
    codec = load_driver_codec(arguments)
    config = settings(arguments, refine_config, codec)
    folder, results = Path(items[0].output).parent, None
    if not names_one_file(arguments.output) and items[0].output != STDIO:
        folder = Path(arguments.output or "rdo-out")
        results = folder / RESULTS
    if arguments.dry_run:
        return show(plan(items, codec, config, results, arguments.overwrite), config.policy)
    folder.mkdir(parents=True, exist_ok=True)
    sources = (Path(items[0].input), *([config.roi] if config.roi else []))
    records = []
    with closing(hire(arguments, codec, len(items), folder, sources)) as pool:
        for record in run(items, codec, config, results, arguments.overwrite, pool):
            records.append(record)
            if record.error:
                cli.say(f"{record.input}: {record.error}")
            if spared := unspent(record, config):
                cli.say(f"{record.input}: {spared:.0f} bytes fewer than allowed, already at the highest quality")
            if arguments.json and items[0].output != STDIO:
                print(record.to_json(), flush=True)
    if not arguments.json and items[0].output != STDIO:
        print(summary(records, results and results.parent))
        if config.roi and any(r.outcome for r in records):
            print(f"cost counts errors as {cli.printable(str(config.roi))} weighs them")
    return cli.SOME_FAILED if any(r.status == "failed" for r in records) else cli.DONE


def show(planned: "Iterable[tuple[Item, Record | None, bool]]", policy: "ImagePolicy") -> int:
    """Print what would be written; 1 if anything would be refused, as far as headers tell."""
    from codec.images.read import refusal

    refused = done = replaced = 0
    for item, record, replaces in planned:
        error = record.error if record else item.input != "-" and refusal(Path(item.input), policy)
        if error:
            cli.say(f"{item.input}: {error}")
            refused += 1
        elif record:
            done += 1
        else:
            print(f"{cli.printable(item.input)} -> {cli.printable(item.output)}")
            replaced += replaces
    if done:
        cli.say(f"{done} done before, and unchanged")
    if replaced:
        cli.say(f"{replaced} would be replaced: -o names another folder")
    return cli.SOME_FAILED if refused else cli.DONE


def unspent(record: "Record", config: "EncodeConfig") -> float:
    """Bytes that a picture leaves of its target, as the model has no better quality for it; 0 if it was met."""
    from codec.architecture import QUALITY_LAST

    found = record.outcome
    if record.status != "done" or not found or record.quality != QUALITY_LAST:
        return 0.0
    goal = config.goal(found.width * found.height)
    if not goal or goal.kind != "bytes" or goal.met(math.log(found.refined.bytes)):
        return 0.0
    return goal.value - found.refined.bytes


def settings(arguments: argparse.Namespace, refine: "RefineConfig", codec: "AnyCodec") -> "EncodeConfig":
    """All that decides the bytes of a file, from the flags.

    Raises:
        ConfigError: a value out of range, or two that do not go together.
    """
    from codec.errors import ConfigError
    from codec.images.read import ImagePolicy
    from codec.model import Codec
    from jobs.running.encode_settings import EncodeConfig, distortion_asked, share_of_ms_ssim

    names = [f.name for f in fields(EncodeConfig)]
    given: dict[str, Any] = {n: getattr(arguments, n) for n in names if getattr(arguments, n, None) is not None}
    targets = [f"--{name.replace('_', '-')}" for name in given if name.startswith("target_")]
    if targets and "quality" in given:
        raise ConfigError(f"--quality and {targets[0]}: the target settles the quality, leave one out")
    if targets and not codec.variable_rate:
        alone = f"{codec.config.name} has quality {codec.default_quality:g} alone"
        raise ConfigError(f"{targets[0]}: {alone}: leave --quality and targets out, or name another model")
    if refine.memory_gib is not None and not isinstance(codec, Codec):
        raise ConfigError("--memory-limit: only our own models are refined in strips: leave it out")
    if "roi_weight" in given and "roi" not in given:
        raise ConfigError("--roi-weight: of a mask: add --roi")
    given.setdefault("quality", codec.default_quality)
    policy = ImagePolicy(arguments.alpha, arguments.depth, arguments.first_frame)
    config = EncodeConfig(**given, refine=refine, policy=policy)
    if config.roi and share_of_ms_ssim(config, codec) == 1:
        raise ConfigError("--roi: a mask weighs the mse, and all of the distortion is MS-SSIM: add --ms-ssim 0.8")
    codec.level(config.quality)  # refuses what is out of range, once
    distortion_asked(config, codec)  # and a mask that cannot be read
    return config


def refine_settings(arguments: argparse.Namespace) -> "RefineConfig":
    """Preset, recipe or YAML < flags.

    Raises:
        ConfigError: a bad file or value.
    """
    from codec.settings import build, load_yaml, override
    from rdo.config import RefineConfig
    from rdo.presets import DEFAULT_EFFORT, effort, recipe, usual_method

    if arguments.config:
        config = build(RefineConfig, load_yaml(arguments.config), str(arguments.config))
    elif arguments.iters is not None and arguments.effort is None:
        config = recipe(arguments.iters)
    else:
        config = effort(DEFAULT_EFFORT if arguments.effort is None else arguments.effort)
    names = {f.name for f in fields(RefineConfig)}
    given = {k: v for k, v in vars(arguments).items() if k in names and v is not None}
    if (method := usual_method(arguments.model)) and not arguments.config:
        given.setdefault("method", method)
    if given.get("method", config.method) != config.method and not arguments.config:
        config = recipe(config.iters, given["method"])
    return override(config, given, "")
