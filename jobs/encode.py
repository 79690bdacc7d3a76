"""`rdo-encode`: images to refined, verified .rdo files."""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import cli
from jobs.budgeting.budget import Budget, BudgetFlags, add_budget_flags, budget_of, check_budget
from jobs.budgeting.time_budget import TimeBudget, add_time_budget_flag, check_time_budget, seconds_of
from jobs.pools.selection import PoolSettings, add_pool_flags

if TYPE_CHECKING:
    from collections.abc import Iterable

    from codec.images.metadata import Keeping
    from codec.images.read import ImagePolicy
    from codec.interface import AnyCodec
    from jobs.record import Record
    from jobs.running.encode_settings import EncodeConfig, RateFlags
    from jobs.running.record_log import RecordLog
    from jobs.running.run import Planned
    from jobs.running.table import Table
    from jobs.running.worklist import Item
    from rdo.config import RefineConfig

EXAMPLES = """\
  rdo-encode --iters 500 photos/            rdo-out/*.rdo, rdo-out/results.jsonl
  rdo-encode --quality 6 -o a.rdo a.png     one file
  rdo-encode --iters 0 -o plain/ photos/    plain encoding, one pass
  rdo-encode --target-total 50MB photos/    all files together at most 50 MB, all pictures at one slope
  rdo-encode --time-budget-total 2h photos/ two hours for all, where they gain most
  rdo-encode -j 4 photos/                   four pictures at a time
  rdo-encode --ray --address head:6379 /share/photos/ -o /share/out
  rdo-encode -j 4 s3://bucket/photos -o s3://bucket/out
  rdo-encode - < a.png > a.rdo              standard input and output"""
URL_NOTE = """Pictures
below a URL are known by their suffix; each worker reads its own and writes its file. The log of records, to which
nothing can be appended there, is in pieces below the output, results/*.jsonl, the last written once a second."""


@dataclass(frozen=True)
class EncodeRun:
    """Settings of one run of `rdo-encode`.

    Attributes:
        inputs: files or folders, by paths or URLs; `-` is standard input.
        output: folder, .rdo file, or `-` for standard output; None is the folder rdo-out.
        overwrite: whether to encode what is done again, and to replace files that no record names.
        dry_run: whether to print what would be written instead of encoding.
        json: whether to print records instead of the table.
        metadata: what files keep of EXIF and XMP.
        preserve_times: whether files get the times of their pictures.
        budget: size of all files together, None for none.
        time_budget: time for all files together, None for none.
    """

    inputs: list[str]
    output: str | None
    rate: "RateFlags"
    refine: "RefineConfig"
    policy: "ImagePolicy"
    pool: PoolSettings
    overwrite: bool
    dry_run: bool
    json: bool
    metadata: "Keeping" = "default"
    preserve_times: bool = False
    budget: Budget | None = None
    time_budget: TimeBudget | None = None


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
    rate.add_argument("--lmbda", type=float, help="weight of mse (0..255) against bpp, default: what fits the quality")
    rate.add_argument(
        "--target-bytes",
        type=int,
        metavar="N",
        help="file size, never above it; at most 1 %% below, if quality 8 fills it",
    )
    rate.add_argument("--target-bpp", type=float, help="file size in bits per pixel")
    rate.add_argument("--target-psnr", type=float, metavar="DB", help="PSNR, to 0.05 dB")
    rate.add_argument("--target-ssimulacra2", type=float, metavar="POINTS", help="SSIMULACRA 2 score, to 0.5 points")
    rate.add_argument(
        "--tune", metavar="NAME",
        help="what the picture shall be good at: mse, ms-ssim, visual (what people see: SSIMULACRA 2), visual:SHARE, "
        "or package.module:function, a distortion of your own (default: what the model was trained for)",
    )  # fmt: skip
    rate.add_argument(
        "--ms-ssim",
        type=float,
        metavar="SHARE",
        help="share of MS-SSIM in the distortion, 0 to 1; the rest is that of --tune",
    )
    rate.add_argument(
        "--exact", choices=("auto", "never", "all"),
        help="blocks of 64 pixels to store losslessly: where that costs less, as in drawings and text; never; or all, "
        "for a lossless file (default auto)",
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
    much.add_argument("--effort", type=int, metavar="1..9", help="preset of configs/refine (default 5)")
    much.add_argument("--config", type=Path, metavar="YAML", help="settings of your own, as in configs/refine")
    search.add_argument(
        "--iters", type=int, help="steps, with the schedules of the nearest preset; 0 is plain encoding"
    )
    search.add_argument(
        "--method",
        help="rdoq, a relaxation: sga, linear, ..., or package.module:function, of your own (default: the preset's; "
        "sga for compressai: models)",
    )
    search.add_argument("--time-budget", type=float, metavar="S", help="about S seconds of refinement per picture")
    add_time_budget_flag(search)
    search.add_argument("--patience", type=int, help="stop after this many checks in a row without a gain (0: never)")
    search.add_argument("--seed", type=int, help="seed of the noise (default 0)")
    search.add_argument(
        "--memory-limit", type=float, metavar="GIB", dest="memory_gib",
        help="of the process while it refines; less takes longer (default: a tile at a time; of a GPU most)",
    )  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = build_parser().parse_args(argv)
    return cli.guarded(lambda: encode(settings_of(arguments)))


def settings_of(arguments: argparse.Namespace) -> EncodeRun:
    """Return the settings of a run from its flags.

    Raises:
        ConfigError: a value out of range, or two that exclude each other.
    """
    from codec.images.read import ImagePolicy
    from jobs.running.buckets import checked_input, checked_output
    from jobs.running.encode_settings import RateFlags
    from jobs.running.refine_settings import RefineFlags, refine_config

    refine, total = cli.from_flags(RefineFlags, arguments), arguments.time_budget_total
    return EncodeRun(
        inputs=[checked_input(name) for name in arguments.inputs],
        output=checked_output(arguments.output),
        rate=cli.from_flags(RateFlags, arguments),
        refine=refine_config(refine, arguments.model, arguments.tune),
        policy=cli.from_flags(ImagePolicy, arguments),
        pool=cli.from_flags(PoolSettings, arguments),
        overwrite=arguments.overwrite,
        dry_run=arguments.dry_run,
        json=arguments.json,
        metadata=arguments.metadata,
        preserve_times=arguments.preserve_times,
        budget=budget_of(cli.from_flags(BudgetFlags, arguments)),
        time_budget=None if total is None else TimeBudget(seconds_of(total), refine, arguments.model, arguments.tune),
    )


def encode(settings: EncodeRun) -> int:
    """Encode the pictures of a run; return 1 if any failed."""
    from codec.errors import ConfigError
    from codec.urls import is_url
    from jobs.pools.selection import load_driver_codec
    from jobs.running.destination import check_urls, destination
    from jobs.running.encode_settings import encode_config
    from jobs.running.run import plan
    from jobs.running.worklist import STDIO, build_worklist

    items = build_worklist(settings.inputs, settings.output)
    if STDIO in (items[0].input, items[0].output) and settings.pool.in_workers:
        raise ConfigError("-: standard input and output belong to this process: leave out --ray, -j and time limits")
    codec = load_driver_codec(settings.pool)
    config = encode_config(
        codec,
        settings.rate,
        model=settings.pool.model,
        refine=settings.refine,
        policy=settings.policy,
        metadata=settings.metadata,
    )
    folder, log = destination(settings.output, items[0])
    check_urls(items, folder, keeps_times=settings.preserve_times)
    if settings.budget:
        check_budget(settings.rate, codec, in_folder=log is not None)
    if settings.time_budget:
        check_time_budget(in_folder=log is not None, with_size=settings.budget is not None)
    if settings.dry_run:
        return show_plan(plan(items, codec, config, log, settings.overwrite), config.policy)
    if not is_url(folder):
        Path(folder).mkdir(parents=True, exist_ok=True)
    if settings.budget and log:
        return _encode_to_budget(settings, items, codec, config, log)
    if settings.time_budget and log:
        return _encode_within_time(settings, items, codec, config, log)
    to_stdout = items[0].output == STDIO
    table = _encode_and_report(settings, items, codec, config, folder, log)
    if not settings.json and not to_stdout:
        _print_summary(table, config, log.folder if log else None)
    return cli.SOME_FAILED if table.failed else cli.DONE


def _encode_and_report(
    settings: EncodeRun,
    items: "list[Item]",
    codec: "AnyCodec",
    config: "EncodeConfig",
    folder: str,
    log: "RecordLog | None",
) -> "Table":
    """Encode all items and return their table; print failures as they come, and records where asked for."""
    from contextlib import closing

    from codec.files import copy_times
    from jobs.pools.selection import make_pool
    from jobs.running.run import run
    from jobs.running.table import Table
    from jobs.running.worklist import STDIO

    sources = (items[0].source, *([str(config.roi)] if config.roi else []))
    table, told = Table(), set[str]()
    with closing(make_pool(settings.pool, codec, len(items), folder, sources)) as pool:
        for record in run(items, codec, config, log, settings.overwrite, pool):
            table.add(record)
            _say_notes(record, told)
            if settings.preserve_times and record.outcome and STDIO not in (record.input, record.output):
                copy_times(record.input_path, record.output_path)
            if left := unused_bytes(record, config):
                cli.say(f"{record.input}: {left:.0f} bytes fewer than allowed, already at the highest quality")
            if settings.json and items[0].output != STDIO:
                print(record.to_json(), flush=True)
    return table


def _say_notes(record: "Record", told: set[str]) -> None:
    """Print a failure, or what was found in a picture's file; once in a run that positions are left out."""
    from jobs.running.encoding import NO_POSITION

    for text in [record.error] if record.error else (record.notes or []) if record.status == "done" else []:
        if text not in told:
            cli.say(f"{record.input}: {text}")
        if text == NO_POSITION:
            told.add(text)


def _encode_to_budget(
    settings: EncodeRun, items: "list[Item]", codec: "AnyCodec", config: "EncodeConfig", log: "RecordLog"
) -> int:
    """Encode all items to the budget of the run; return 1 if any failed, or the files together exceed it."""
    from contextlib import closing

    from jobs.budgeting.page import report
    from jobs.budgeting.run import encode_to_budget
    from jobs.pools.selection import make_pool

    assert settings.budget is not None, "asked for by the caller"
    sources = (items[0].source, *([str(config.roi)] if config.roi else []))
    with closing(make_pool(settings.pool, codec, len(items), log.folder, sources)) as pool:
        found = encode_to_budget(
            items, codec, config, settings.budget, log=log, overwrite=settings.overwrite, pool=pool
        )
    _tell(settings, found.records, config, log.folder)
    told = report(found, log.folder)
    if told and not settings.json:
        print(told)
    if found.excess_bytes > 0:
        cli.say(f"{log.folder}: {found.excess_bytes:,} bytes above the budget: no smaller files could be made")
    failed = any(record.status == "failed" for record in found.records)
    return cli.SOME_FAILED if failed or found.excess_bytes > 0 else cli.DONE


def _tell(settings: EncodeRun, records: "list[Record]", config: "EncodeConfig", folder: str) -> None:
    """Print what was found in the pictures that are done, then records or table; keep the files' times if asked to."""
    from codec.files import copy_times
    from jobs.running.table import Table

    table, told = Table(), set[str]()
    for record in records:
        table.add(record)
        if record.status == "done":
            _say_notes(record, told)
        if settings.preserve_times and record.outcome:
            copy_times(record.input_path, record.output_path)
    if settings.json:
        print(*(record.to_json() for record in records), sep="\n", flush=True)
    else:
        _print_summary(table, config, folder)


def _encode_within_time(
    settings: EncodeRun, items: "list[Item]", codec: "AnyCodec", config: "EncodeConfig", log: "RecordLog"
) -> int:
    """Encode all items within the time of the run; return 1 if any failed."""
    from contextlib import closing

    from jobs.budgeting.effort_run import encode_within_time
    from jobs.pools.selection import make_pool

    assert settings.time_budget is not None, "asked for by the caller"
    sources = (items[0].source, *([str(config.roi)] if config.roi else []))
    with closing(make_pool(settings.pool, codec, len(items), log.folder, sources)) as pool:
        found = encode_within_time(
            items, codec, config, settings.time_budget, log=log, overwrite=settings.overwrite, pool=pool,
            workers=max(1, pool.slots // settings.pool.batch),
        )  # fmt: skip
    _tell(settings, found.records, config, log.folder)
    if not settings.json:
        print(found.text())
    if found.plain:
        text = (
            f"the time budget is too small to refine {found.plain} of {len(items)} pictures: they are encoded plainly"
        )
        cli.say(f"{log.folder}: {text}")
    return cli.SOME_FAILED if any(record.status == "failed" for record in found.records) else cli.DONE


def _print_summary(table: "Table", config: "EncodeConfig", folder: str | None) -> None:
    """Print the table of a run."""
    print(table.text(folder))
    if table.metadata_bytes:
        print(f"metadata takes {table.metadata_bytes} bytes more; --metadata copyright or drop keeps less")
    if config.roi and table.scored:
        print(f"cost counts errors as {cli.printable(str(config.roi))} weighs them")


def show_plan(planned: "Iterable[Planned]", policy: "ImagePolicy") -> int:
    """Print what a run would write; return 1 if it would refuse any picture, as far as headers tell."""
    from codec.errors import StorageError
    from codec.images.read import refusal
    from codec.places import read
    from codec.urls import is_url

    def found_wrong(item: "Item") -> str | None:
        try:
            return refusal(read(item.source) if is_url(item.source) else Path(item.input), policy)
        except StorageError as error:
            return error.text

    refused = done = replaced = 0
    for item, record, replaces in planned:
        error = record.error if record else item.input != "-" and found_wrong(item)
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


def unused_bytes(record: "Record", config: "EncodeConfig") -> float:
    """Return the bytes by which a file falls short of its target at the highest quality; 0 if it meets the target."""
    from codec.architecture import QUALITY_LAST

    found = record.outcome
    if record.status != "done" or not found or record.quality != QUALITY_LAST:
        return 0.0
    goal = config.goal(found.width * found.height)
    size = found.refined.bytes + found.metadata_bytes
    if not goal or goal.kind != "bytes" or goal.met(math.log(size)):
        return 0.0
    return goal.value - size
