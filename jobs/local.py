"""A run in this process: pictures one after another, a bar over all their steps, records as they come."""

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from codec.model import Codec
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
    ours = overwrite or (results is not None and results.exists())
    finished: dict[str, Record] = {}
    if results is not None:
        finished = {r.output: r for r in read_records(results) if r.status == "done" and not overwrite}
        results.touch()
    steps = max(1, config.refine.iters)
    total = sum(item.pixels for item in items) * steps / 1e6
    config_hash = encode_hash(codec, config)
    with tqdm(total=total, unit="MP", disable=quiet, file=sys.stderr, bar_format=_BAR) as bar:
        for index, item in enumerate(items, 1):
            bar.set_description(f"{index}/{len(items)} {Path(item.input).name[:30]}")
            share = item.pixels / 1e6
            target = bar.n + steps * share
            record = _settled(item, finished.get(item.output), config_hash, ours)
            if record is None:
                record = encode_one(item, codec, config, partial(_advance, bar, share))
                if results is not None:
                    append_record(results, record)
            bar.update(min(target, total) - bar.n)
            yield record


_BAR = "{desc} {percentage:3.0f}%|{bar:20}| {elapsed}, {remaining} left"


def _advance(bar: "tqdm[NoReturn]", megapixels: float, _: int) -> None:
    bar.update(min(megapixels, (bar.total or 0) - bar.n))


def _settled(item: Item, before: Record | None, config_hash: str, ours: bool) -> Record | None:
    """A record for what needs no work: a pair that matches the finished one by hash, or a file not ours to replace.

    In a folder of ours a file without a matching record is what a killed run or other settings left: it is replaced.
    """
    output = Path(item.output)
    if item.output == STDIO or not output.exists():
        return None
    if before is not None and before.config_hash == config_hash and before.output_sha256 == _sha256(output):
        return replace(before, status="skipped") if before.input_sha256 == _sha256(Path(item.input)) else None
    if ours:
        return None
    text = f"{item.output} exists and is no result of an earlier run: pass --overwrite to replace it"
    return Record(schema=SCHEMA, status="failed", input=item.input, output=item.output, error=text)


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
