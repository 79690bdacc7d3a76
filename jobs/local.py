"""A run in this process: pictures one after another, a bar over all their steps, records as they come."""

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from codec.bitstream import unpack
from codec.errors import BitstreamError
from codec.model import Codec
from jobs.record import SCHEMA, Record, append_record, read_records
from jobs.worker import EncodeConfig, encode_hash, encode_one
from jobs.worklist import STDIO, Item

RESULTS = "results.jsonl"
Key = tuple[str | None, str | None, str | None]  # hashes of input, output and configuration


def run(
    items: list[Item], codec: Codec, config: EncodeConfig, results: Path | None, overwrite: bool, quiet: bool = False
) -> Iterator[Record]:
    """Encode every item that is not done yet, yielding a record for each; one failure does not stop the rest.

    Args:
        results: where records are appended; None keeps none.
        overwrite: encode again what is done, and replace files in folders that hold no results of ours.
    """
    finished = {} if overwrite or results is None else _finished(results)
    ours = results is not None and results.exists()
    steps = max(1, config.refine.iters)
    total = sum(item.pixels for item in items) * steps / 1e6
    config_hash = encode_hash(codec, config)
    with tqdm(total=total, unit="MP", disable=quiet, file=sys.stderr, bar_format=_BAR) as bar:
        for index, item in enumerate(items, 1):
            bar.set_description(f"{index}/{len(items)} {Path(item.input).name[:30]}")
            share = item.pixels / 1e6
            target = bar.n + steps * share
            record = None if overwrite else _settled(item, finished, config_hash, ours)
            if record is None:
                if results is not None:
                    results.touch()
                record = encode_one(item, codec, config, partial(_advance, bar, share))
                if results is not None:
                    append_record(results, record)
            bar.update(min(target, total) - bar.n)
            yield record


_BAR = "{desc} {percentage:3.0f}%|{bar:20}| {elapsed}, {remaining} left"


def _advance(bar: "tqdm[NoReturn]", megapixels: float, _: int) -> None:
    bar.update(min(megapixels, (bar.total or 0) - bar.n))


def _finished(results: Path) -> dict[Key, Record]:
    """Earlier successes, by what makes them reusable wherever the folder lies now."""
    done = (r for r in read_records(results) if r.status == "done")
    return {(r.input_sha256, r.output_sha256, r.config_hash): r for r in done}


def _settled(item: Item, finished: dict[Key, Record], config_hash: str, ours: bool) -> Record | None:
    """A record for what needs no work: a pair that matches a finished one by hash, or a file not ours to replace.

    An intact .rdo file in a folder of ours is what a killed run or other settings left: it is replaced.
    """
    output = Path(item.output)
    if item.output == STDIO or not output.exists():
        return None
    found = finished.get((_sha256(Path(item.input)), _sha256(output), config_hash))
    if found is not None:
        return replace(found, status="skipped", input=item.input, output=item.output)
    if ours and _intact(output):
        return None
    text = f"{item.output} exists and is no result of an earlier run: pass --overwrite to replace it"
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
