"""`rdo-compare`: report on refinement, against plain encoding and classical codecs, as a page and tables."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import cli
from jobs.comparing import LADDER
from jobs.pools.selection import PoolSettings, add_pool_flags

if TYPE_CHECKING:
    from jobs.comparing.run import CompareSettings

EXAMPLES = """\
  rdo-compare photos/                              rdo-compare/report.html and its tables
  rdo-compare --iters 50,200,800 photos/           gain against time from three efforts
  rdo-compare --codecs jpeg,webp --qualities 2,4,6 photos/
  rdo-compare --records rdo-out/results.jsonl      report on a finished run, nothing is encoded again
  rdo-compare --anchors kodak kodak/               published curves beside ours"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `rdo-compare`."""
    flags = cli.parser("rdo-compare", "Compare refined with plain files and with classical codecs.", EXAMPLES)
    flags.add_argument("inputs", nargs="*", metavar="PICTURE", help="files or folders; a second run encodes the rest")
    flags.add_argument("--records", nargs="+", metavar="FILE", help="results.jsonl of finished runs, or their folders")
    flags.add_argument("-o", "--output", help="folder (default rdo-compare, or that of --records)")
    ladder = ",".join(f"{quality:g}" for quality in LADDER)
    what = flags.add_argument_group("codecs and pictures compared")
    what.add_argument(
        "--qualities",
        help=f"quality levels of .rdo files, 1 to 8 (default {ladder}; or a model's only one)",
    )
    what.add_argument("--plain-qualities", metavar="LEVELS", help="more levels, for plain encoding alone")
    what.add_argument("--codecs", help="jpeg, jpeg2000, webp, avif, jpegxl, heic, or none (default: all installed)")
    what.add_argument(
        "--anchors", help="published curves to show: kodak, tecnick, clic or none (default: those of these pictures)"
    )
    what.add_argument("--pictures", type=int, default=4, help="pictures shown on the page")
    search = flags.add_argument_group("refinement")
    search.add_argument(
        "--tune", metavar="NAME", help="what files shall be good at: mse, ms-ssim, visual, ..., as of rdo-encode"
    )
    much = search.add_mutually_exclusive_group()
    much.add_argument("--effort", type=int, metavar="1..9", help=cli.EFFORT_HELP)
    much.add_argument("--iters", help="steps; several, as 10,40,160, show gain against time")
    search.add_argument("--method", help="rdoq, sga, ..., as of rdo-encode (default: the effort's)")
    search.add_argument("--time-budget", type=float, metavar="S", help="about S seconds of refinement per picture")
    search.add_argument("--seed", type=int, help="seed of the noise (default 0)")
    search.add_argument(
        "--config", type=Path, metavar="YAML", help="a file of settings instead of an effort, as in configs/refine"
    )
    cli.add_picture_flags(flags)
    run = flags.add_argument_group("run")
    run.add_argument("--json", action="store_true", help="print the report as JSON instead of its table")
    cli.add_model_flags(run)
    add_pool_flags(flags)
    return flags


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = build_parser().parse_args(argv)
    command = shlex.join(["rdo-compare", *(sys.argv[1:] if argv is None else argv)])

    def run() -> int:
        from jobs.comparing.run import compare

        return compare(parse(arguments, command))

    return cli.guarded(run)


def parse(arguments: argparse.Namespace, command: str) -> "CompareSettings":
    """Check the flags and return them as settings.

    Raises:
        ConfigError: a bad value, or neither or both of pictures and records.
    """
    from codec.errors import ConfigError
    from codec.images.read import ImagePolicy
    from jobs.comparing.anchors import load_anchors
    from jobs.comparing.ladders import choose_codecs
    from jobs.comparing.run import CompareSettings, parse_recipes
    from jobs.running.refine_settings import RefineFlags

    if bool(arguments.inputs) == bool(arguments.records):
        raise ConfigError("name pictures or folders to encode, or finished runs with --records, not both")
    refine_flags = cli.from_flags(RefineFlags, arguments)  # its iters are those of each recipe
    return CompareSettings(
        inputs=tuple(arguments.inputs),
        records=tuple(arguments.records or ()),
        output=output_folder(arguments.output, arguments.records),
        qualities=tuple(cli.numbers(arguments.qualities, "--qualities")) if arguments.qualities else None,
        recipes=parse_recipes(arguments.iters, refine_flags, arguments.model, arguments.tune),
        codecs=choose_codecs(arguments.codecs, all_by_default=not arguments.records),
        anchors=load_anchors(arguments.anchors) if arguments.anchors not in (None, "none") else None,
        find_anchors=not arguments.anchors,
        views=arguments.pictures,
        policy=cli.from_flags(ImagePolicy, arguments),
        pool=cli.from_flags(PoolSettings, arguments),
        command=command,
        json=arguments.json,
        tune=arguments.tune,
        plain_qualities=tuple(
            cli.numbers(arguments.plain_qualities, "--plain-qualities") if arguments.plain_qualities else ()
        ),
    )


def output_folder(output: str | None, records: list[str] | None) -> Path:
    """Return the folder of the report: the one named, else that of the first records, else rdo-compare."""
    if output:
        return Path(output)
    if not records:
        return Path("rdo-compare")
    first = Path(records[0])
    return first if first.is_dir() else first.parent
