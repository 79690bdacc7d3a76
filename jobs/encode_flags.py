"""Flags of `rdo-encode`."""

import argparse
from pathlib import Path

from jobs import cli
from jobs.budgeting.budget import add_budget_flags
from jobs.budgeting.time_budget import add_time_budget_flag
from jobs.pools.selection import add_pool_flags

EXAMPLES = """\
  rdo-encode --iters 500 photos/            rdo-out/*.rdo, rdo-out/results.jsonl
  rdo-encode --quality 6 -o a.rdo a.png     one file
  rdo-encode --iters 0 -o plain/ photos/    plain encoding, one pass
  rdo-encode --target-total 50MB photos/    all files together at most 50 MB, bytes where they help most
  rdo-encode --time-budget-total 2h photos/ two hours for all, where they gain most
  rdo-encode -j 4 photos/                   four pictures at a time
  rdo-encode --ray --address head:6379 /share/photos/ -o /share/out
  rdo-encode -j 4 s3://bucket/photos -o s3://bucket/out
  rdo-encode - < a.png > a.rdo              standard input and output"""
URL_NOTE = """Pictures
below a URL are known by their suffix. The log of records is in pieces below the output, results/*.jsonl."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    flags = cli.parser("rdo-encode", "Encode pictures, spending time to make the files smaller.", EXAMPLES)
    flags.add_argument("inputs", nargs="+", metavar="PICTURE", help="files, folders or URLs; - is standard input")
    flags.add_argument("-o", "--output", help="folder (default rdo-out), URL, or one .rdo file; - is standard output")
    _add_rate_flags(flags)
    add_budget_flags(flags)
    _add_refinement_flags(flags)
    cli.add_picture_flags(flags)
    keep = flags.add_argument_group("metadata")
    keep.add_argument(
        "--metadata",
        choices=("default", "keep", "copyright", "drop"),
        default="default",
        help="EXIF and XMP: default keeps all but the position and the maker's notes, which may hold one; keep keeps "
        "these too; copyright keeps names and notice alone; the thumbnail is always left out",
    )
    keep.add_argument("--preserve-times", action="store_true", help="give files the times of their pictures")
    run = flags.add_argument_group("run")
    run.add_argument("--overwrite", action="store_true", help="encode again what is done; replace existing files")
    run.add_argument(
        "--dry-run", action="store_true", help="list what would be written; checks settings and headers, not pixels"
    )
    run.add_argument("--json", action="store_true", help="print records, a JSON object a line, instead of the table")
    cli.add_model_flags(run)
    add_pool_flags(flags)
    cli.add_url_note(flags, URL_NOTE)
    return flags


def _add_rate_flags(flags: argparse.ArgumentParser) -> None:
    """Add the flags of `RateFlags`."""
    rate = flags.add_argument_group("rate")
    rate.add_argument("--quality", type=float, help="1 (smallest) to 8 (best), continuous (default 4)")
    rate.add_argument(
        "--lmbda", type=float, help="weight of errors: bpp + LMBDA * mse is minimised (default: what fits the quality)"
    )
    rate.add_argument(
        "--target-bytes",
        type=int,
        metavar="N",
        help="most bytes of each file, of which 99 %% are used, unless quality 8 takes fewer",
    )
    rate.add_argument("--target-bpp", type=float, metavar="BPP", help="the same, in bits per pixel")
    rate.add_argument("--target-psnr", type=float, metavar="DB", help="PSNR of each file, to 0.05 dB")
    rate.add_argument(
        "--target-ssimulacra2",
        type=float,
        metavar="POINTS",
        help="SSIMULACRA 2 score of each file, to 0.5 points: 50 medium, 70 high, 90 visually lossless",
    )
    rate.add_argument(
        "--tune", metavar="NAME",
        help="what files shall be good at: mse, ms-ssim, visual (what people see), visual:SHARE (with the rest for "
        "mse) or package.module:function, a distortion of your own (default: what the model was trained for)",
    )  # fmt: skip
    rate.add_argument(
        "--ms-ssim",
        type=float,
        metavar="SHARE",
        help="share of MS-SSIM in the distortion, 0 to 1; the rest is that of --tune",
    )
    rate.add_argument(
        "--exact", choices=("auto", "never", "all"),
        help="blocks of 64 px to store losslessly: auto where that costs less, as in drawings and text; all makes "
        "lossless files (default auto)",
    )  # fmt: skip
    rate.add_argument("--roi", type=Path, metavar="MASK", help="picture, white where errors matter most")
    rate.add_argument(
        "--roi-weight", type=float, metavar="W", help="weight of errors under white against black (default 8)"
    )
    rate.add_argument(
        "--tile", type=int, metavar="PX",
        help="side of the tiles of large pictures, which bound memory and can be decoded apart (default 1024; 0: one)",
    )  # fmt: skip


def _add_refinement_flags(flags: argparse.ArgumentParser) -> None:
    """Add the flags of `RefineFlags`."""
    search = flags.add_argument_group("refinement: how much, then details that override it")
    much = search.add_mutually_exclusive_group()
    much.add_argument("--effort", type=int, metavar="1..9", help=cli.EFFORT_HELP)
    much.add_argument("--config", type=Path, metavar="YAML", help="a file of settings instead, as in configs/refine")
    search.add_argument(
        "--iters", type=int, help="steps, with the schedules of the nearest effort; 0 is plain encoding"
    )
    search.add_argument(
        "--method",
        help="rdoq (search among integers), a relaxation (sga, linear, ...) or package.module:function (default: the "
        "effort's; sga for compressai: models)",
    )
    search.add_argument("--time-budget", type=float, metavar="S", help="about S seconds of refinement per picture")
    add_time_budget_flag(search)
    search.add_argument("--patience", type=int, help="stop after this many checks in a row without a gain (0: never)")
    search.add_argument("--seed", type=int, help="seed of the noise (default 0)")
    search.add_argument(
        "--memory-limit", type=float, metavar="GIB", dest="memory_gib",
        help="most memory of the process; less takes longer (default: what a tile needs, or most of a GPU's)",
    )  # fmt: skip
