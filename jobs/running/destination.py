"""Destination of a run of `rdo-encode`: folder of its files and log of its records, on a disk or in a bucket."""

from pathlib import Path

from codec.errors import ConfigError
from codec.places import folder_of
from codec.urls import is_url
from jobs.running.bucket_log import BucketLog
from jobs.running.record_log import RESULTS, FileLog, RecordLog
from jobs.running.worklist import OUTPUT, STDIO, Item, names_one_file


def destination(output: str | None, first: Item) -> tuple[str, RecordLog | None]:
    """Return the folder of the files, and the log in it; None where one file is written without a record.

    Args:
        output: as it was named, None for the folder OUTPUT.
        first: image of the worklist.
    """
    if names_one_file(output) or first.output == STDIO:
        return folder_of(first.output), None
    folder = output or OUTPUT
    return folder, log_in(folder, RESULTS)


def log_in(folder: str, name: str) -> RecordLog:
    """Return the log of a name, such as results.jsonl, in a folder: a file, or in a bucket the pieces of results/."""
    return BucketLog(folder, Path(name).stem) if is_url(folder) else FileLog(Path(folder, name))


def check_urls(items: list[Item], folder: str, *, keeps_times: bool) -> None:
    """Check that a run asks nothing of files behind URLs that they lack.

    Raises:
        ConfigError: their times are to be kept.
    """
    if keeps_times and (is_url(folder) or any(is_url(item.input) for item in items)):
        raise ConfigError("--preserve-times: files behind URLs have no times to give or take: leave it out")
