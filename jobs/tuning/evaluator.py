"""Evaluation of recipes on photos through a pool of workers, each picture once.

Records are appended as they come. The invariant: what is recorded is never encoded again, so that a killed study, and
a recipe that is tried twice, cost only what is missing.
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from codec.interface import AnyCodec
from jobs.pools.base import Pool, Task
from jobs.record import Record, append_record, read_records
from jobs.running.encode_settings import EncodeConfig, encode_hash, policy_matches
from jobs.running.record_log import RESULTS
from jobs.running.worklist import NOT_WRITTEN, Item
from jobs.tuning.photos import Photo
from rdo.config import RefineConfig


class Case(NamedTuple):
    """Photo to encode at a quality."""

    photo: Photo
    quality: float


class Evaluator:
    """Encoder of cases for their records alone, by a pool or from the records of earlier runs in `folder`.

    Records of another kind of device do not count, as their seconds are not comparable.
    """

    def __init__(self, pool: Pool, codec: AnyCodec, *, config: EncodeConfig, folder: Path, device: str) -> None:
        self.pool, self.codec, self.config, self.results = pool, codec, config, folder / RESULTS
        scored = [record for record in read_records(self.results) if record.outcome]
        here = [record for record in scored if _kind(record.device or "") == _kind(device)]
        done = [record for record in here if policy_matches(record.policy, config.policy)]
        self.hashes: dict[EncodeConfig, str] = {}  # cached: each takes a pass over all weights
        self.known = {(record.input_sha256, record.config_hash): record for record in done}

    def start(self, key: str, case: Case, recipe: RefineConfig) -> Record | None:
        """Return the record of a case if it is known; else submit the case, whose record `wait` returns by `key`."""
        config = replace(self.config, quality=case.quality, refine=recipe)
        if config not in self.hashes:
            self.hashes[config] = encode_hash(self.codec, config)
        record = self.known.get((case.photo.sha256, self.hashes[config]))
        if record is None:
            self.pool.submit(Task(Item(str(case.photo.path), NOT_WRITTEN, case.photo.pixels), config, key))
        return record

    def wait(self) -> list[tuple[str, Record]]:
        """Wait for at least one submitted case; return the keys and records of all that are finished."""
        found = [(task.key, record) for task, record in self.pool.wait()]
        for _, record in found:
            append_record(self.results, record)
            self.known[record.input_sha256, record.config_hash] = record
        return found

    def evaluate(self, recipe: RefineConfig, cases: list[Case]) -> list[Record]:
        """Encode all cases with a recipe; return their records in the order of the cases."""
        records: dict[str, Record] = {}
        for index, case in enumerate(cases):
            if known := self.start(str(index), case, recipe):
                records[str(index)] = known
        while len(records) < len(cases):
            records |= dict(self.wait())
        return [records[str(index)] for index in range(len(cases))]


def _kind(device: str) -> str:
    """Return the type of a device without its index: cuda for cuda:0."""
    return device.partition(":")[0]
