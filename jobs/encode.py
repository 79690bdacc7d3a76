"""`rdo-encode`: images to refined, verified .rdo files."""

import argparse
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from codec.errors import ConfigError
from jobs import cli
from jobs.budgeting.budget import Budget, BudgetFlags, budget_of, check_budget
from jobs.budgeting.time_budget import TimeBudget, check_time_budget, seconds_of
from jobs.encode_flags import build_parser
from jobs.pools.selection import PoolSettings

if TYPE_CHECKING:
    from codec.images.metadata import Keeping
    from codec.images.read import ImagePolicy
    from codec.interface import AnyCodec
    from jobs.pools.base import Pool
    from jobs.record import Record
    from jobs.running.encode_settings import EncodeConfig, RateFlags
    from jobs.running.record_log import RecordLog
    from jobs.running.table import Table
    from jobs.running.worklist import Item
    from rdo.config import RefineConfig


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
    from codec.urls import is_url
    from jobs.pools.selection import load_driver_codec
    from jobs.running.destination import check_urls, destination
    from jobs.running.encode_report import show_plan
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
    job = _Job(settings, items, codec, config, folder, log)
    if settings.budget and log:
        return _encode_to_budget(job, settings.budget, log)
    if settings.time_budget and log:
        return _encode_within_time(job, settings.time_budget, log)
    return _encode_each(job)


class _Job(NamedTuple):
    """Run of `rdo-encode` whose settings were checked: its pictures, codec, place and log, None without a folder."""

    settings: EncodeRun
    items: "list[Item]"
    codec: "AnyCodec"
    config: "EncodeConfig"
    folder: str
    log: "RecordLog | None"

    def pool(self) -> "Pool":
        """Start the pool that encodes the pictures."""
        from jobs.pools.selection import make_pool

        sources = (self.items[0].source, *([str(self.config.roi)] if self.config.roi else []))
        return make_pool(self.settings.pool, self.codec, len(self.items), self.folder, sources)


def _encode_each(job: _Job) -> int:
    """Encode every picture by itself; print failures as they come, then the table, or records as they come."""
    from jobs.running.encode_report import RunReport, unused_bytes
    from jobs.running.run import run
    from jobs.running.worklist import STDIO

    settings, config, to_stdout = job.settings, job.config, job.items[0].output == STDIO
    report = RunReport(config, settings.preserve_times)
    with closing(job.pool()) as pool:
        for record in run(job.items, job.codec, config, job.log, settings.overwrite, pool):
            report.add(record)
            if left := unused_bytes(record, config):
                cli.say(f"{record.input}: {left:.0f} bytes fewer than allowed, already at the highest quality")
            if settings.json and not to_stdout:
                print(record.to_json(), flush=True)
    if not settings.json and not to_stdout:
        report.print_summary(job.log.folder if job.log else None)
    return _status(report.table)


def _encode_to_budget(job: _Job, budget: Budget, log: "RecordLog") -> int:
    """Encode all pictures to a size of all files together; return 1 if any failed, or the files exceed it."""
    from jobs.budgeting.page import report
    from jobs.budgeting.run import encode_to_budget

    with closing(job.pool()) as pool:
        found = encode_to_budget(
            job.items, job.codec, job.config, budget, log=log, overwrite=job.settings.overwrite, pool=pool
        )
    table = _tell(job, found.records)
    told = report(found, job.folder)
    if told and not job.settings.json:
        print(told)
    if found.excess_bytes > 0:
        cli.say(f"{job.folder}: {found.excess_bytes:,} bytes above the budget: no smaller files could be made")
        return cli.SOME_FAILED
    return _status(table)


def _encode_within_time(job: _Job, budget: TimeBudget, log: "RecordLog") -> int:
    """Encode all pictures within a time for all together; return 1 if any failed."""
    from jobs.budgeting.effort_run import encode_within_time

    with closing(job.pool()) as pool:
        found = encode_within_time(
            job.items, job.codec, job.config, budget, log=log, overwrite=job.settings.overwrite, pool=pool,
            workers=max(1, pool.slots // job.settings.pool.batch),
        )  # fmt: skip
    table = _tell(job, found.records)
    if not job.settings.json:
        print(found.text())
    if found.plain:
        text = f"the time budget is too small to refine {found.plain} of {len(job.items)} pictures"
        cli.say(f"{job.folder}: {text}: they are encoded plainly")
    return _status(table)


def _tell(job: _Job, records: "list[Record]") -> "Table":
    """Print what was found in the pictures that are done, then records or table; failures were printed before."""
    from jobs.running.encode_report import RunReport

    report = RunReport(job.config, job.settings.preserve_times)
    for record in records:
        report.add(record, failures=False)
    if job.settings.json:
        print(*(record.to_json() for record in records), sep="\n", flush=True)
    else:
        report.print_summary(job.folder)
    return report.table


def _status(table: "Table") -> int:
    """Return the exit status of a run with this table."""
    return cli.SOME_FAILED if table.failed else cli.DONE
