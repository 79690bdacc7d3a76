"""A run in this process: pictures one after another, a bar over all their steps, records as they come."""

import hashlib
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from codec.bitstream import unpack
from codec.errors import BitstreamError
from codec.model import Codec
from jobs.pool import Task
from jobs.record import SCHEMA, Record, append_record, read_records
from jobs.worker import EncodeConfig, encode_hash, encode_one
from jobs.worklist import STDIO, Item

RESULTS = "results.jsonl"


def run(
    items: list[Item], codec: Codec, config: EncodeConfig, results: Path | None, overwrite: bool, quiet: bool = False
) -> Iterator[Record]:
    """Encode every item that is not done yet, yielding a record for each; one failure does not stop the rest.

    Args:
        results: where records are appended; None keeps none.
        overwrite: encode again what is done, and replace files in folders that hold no results of ours.
    """
    before = History([] if results is None else read_records(results), results is not None and results.exists())
    if results is not None:
        results.touch()
    steps = max(1, config.refine.iters)
    total = sum(item.pixels for item in items) * steps / 1e6
    config_hash = encode_hash(codec, config)
    with tqdm(total=total, unit="MP", disable=quiet or None, file=sys.stderr, bar_format=_BAR) as bar:
        for index, item in enumerate(items, 1):
            bar.set_description(f"{index}/{len(items)} {Path(item.input).name[:30]}")
            share = item.pixels / 1e6
            target = bar.n + steps * share
            record = None if overwrite else _settled(item, before, config_hash)
            if record is None:
                record = encode_one(item, codec, config, partial(_advance, bar, share))
            if results is not None and record.status != "skipped":
                append_record(results, record)
            bar.update(min(target, total) - bar.n)
            yield record


class InProcess:
    """A pool of one slot, this process: `wait` encodes."""

    slots = 1

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.queue: deque[Task] = deque()
        self.on_step: Callable[[Task], None] = lambda task: None

    def submit(self, task: Task) -> None:
        """See `Pool`."""
        self.queue.append(task)

    def wait(self, timeout: float | None = None) -> list[tuple[Task, Record]]:  # noqa: ARG002  (never cut short)
        """See `Pool`; a picture that was begun is finished, however long it takes."""
        if not self.queue:
            return []
        task = self.queue.popleft()
        return [(task, encode_one(task.item, self.codec, task.config, lambda step: self.on_step(task)))]

    def close(self) -> None:
        """See `Pool`."""
        self.queue.clear()


_BAR = "{desc} {percentage:3.0f}%|{bar:20}| {elapsed}, {remaining} left"


def _advance(bar: "tqdm[NoReturn]", megapixels: float, _: int) -> None:
    bar.update(min(megapixels, (bar.total or 0) - bar.n))


class History:
    """What earlier runs recorded in an output folder."""

    def __init__(self, records: list[Record], exists: bool) -> None:
        self.exists = exists
        done = [r for r in records if r.status == "done"]
        self.finished = {(r.input_sha256, r.output_sha256, r.config_hash): r for r in done}
        written = {Path(r.output).absolute() for r in done}
        self.failed = {Path(r.output).absolute() for r in records} - written

    def owns(self, output: Path) -> bool:
        """Whether a file that matches no record is ours to replace: what other settings or a killed run left.

        A killed run leaves an intact file that no record names. One that was refused before stays refused.
        """
        return self.exists and output.absolute() not in self.failed and _intact(output)


def _settled(item: Item, before: History, config_hash: str) -> Record | None:
    """A record for what needs no work: a pair that matches a finished one by hash, or a file not ours to replace."""
    output = Path(item.output)
    if item.output == STDIO or not output.exists():
        return None
    found = before.finished.get((_sha256(Path(item.input)), _sha256(output), config_hash))
    if found is not None:
        return replace(found, status="skipped", input=item.input, output=item.output)
    if before.owns(output):
        return None
    text = f"{item.output} exists, and no record here shows it to be a result of ours: pass --overwrite to replace it"
    return Record(schema=SCHEMA, status="failed", input=item.input, output=item.output, error=text)


def _intact(path: Path) -> bool:
    try:
        unpack(path.read_bytes())
    except (BitstreamError, OSError):
        return False
    return True


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
