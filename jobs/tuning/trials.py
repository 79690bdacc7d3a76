"""Trials through a pool: several under way at once, each picture encoded once, whatever kills the run.

Records are kept as they come. What is recorded is never encoded again, so that a killed study, and a recipe that is
asked for twice, cost only what is missing.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from codec.coding import AnyCodec
from codec.errors import ConfigError
from jobs.pools.base import Pool, Task
from jobs.record import Record, append_record, read_records
from jobs.running.encode_settings import EncodeConfig, encode_hash, suits
from jobs.running.run import RESULTS
from jobs.running.worklist import NOWHERE, Item
from jobs.tuning.photos import Photo
from jobs.tuning.study import Attempt, Study
from rdo.config import RefineConfig

FAILURES_MAX = 3  # trials in a row; then what fails is not a recipe


class Case(NamedTuple):
    """A photo at a quality."""

    photo: Photo
    quality: float


class Bench:
    """Encodes cases for their records alone: by the pool, or from what an earlier run left in `folder`.

    Another kind of device's records do not count, as their seconds are its own.
    """

    def __init__(self, pool: Pool, codec: AnyCodec, config: EncodeConfig, folder: Path, device: str) -> None:
        self.pool, self.codec, self.config, self.results = pool, codec, config, folder / RESULTS
        scored = [record for record in read_records(self.results) if record.outcome]
        here = [record for record in scored if _kind(record.device or "") == _kind(device)]
        done = [record for record in here if suits(record.policy, config.policy)]
        self.hashes: dict[EncodeConfig, str] = {}  # of all weights, hence slow
        self.known = {(record.input_sha256, record.config_hash): record for record in done}

    def start(self, key: str, case: Case, recipe: RefineConfig) -> Record | None:
        """The record, if it is known; else None, and `wait` will give it with this key."""
        config = replace(self.config, quality=case.quality, refine=recipe)
        if config not in self.hashes:
            self.hashes[config] = encode_hash(self.codec, config)
        record = self.known.get((case.photo.sha256, self.hashes[config]))
        if record is None:
            self.pool.submit(Task(Item(str(case.photo.path), NOWHERE, case.photo.pixels), config, key))
        return record

    def wait(self) -> list[tuple[str, Record]]:
        """Keys and records of what is finished, at least one."""
        found = [(task.key, record) for task, record in self.pool.wait()]
        for _, record in found:
            append_record(self.results, record)
            self.known[record.input_sha256, record.config_hash] = record
        return found

    def measure(self, recipe: RefineConfig, cases: list[Case]) -> list[Record]:
        """The records of all cases, in their order."""
        records: dict[str, Record] = {}
        for index, case in enumerate(cases):
            if known := self.start(str(index), case, recipe):
                records[str(index)] = known
        while len(records) < len(cases):
            records |= dict(self.wait())
        return [records[str(index)] for index in range(len(cases))]


def _kind(device: str) -> str:
    return device.partition(":")[0]


@dataclass
class Search:
    """The trials of a study until it has its number of them, or `deadline` (of `time.monotonic`) has passed.

    The pool is kept full: with the open cases of the oldest trial, then with a new trial.
    """

    study: Study
    bench: Bench
    cases: list[Case]
    deadline: float
    ended: Callable[[int], None]  # called with the number of each trial that ends
    open: dict[int, Attempt] = field(default_factory=dict)
    flying: dict[str, tuple[Attempt, int]] = field(default_factory=dict)
    failures: int = 0

    def run(self) -> None:
        """Search.

        Raises:
            ConfigError: trial after trial fails.
        """
        while True:
            while len(self.flying) < self.bench.pool.slots and (job := self._next()):
                self._begin(*job)
            if not self.flying:
                return
            for key, record in self.bench.wait():
                self._settle(*self.flying.pop(key), record)

    def _next(self) -> tuple[Attempt, int] | None:
        for attempt in self.open.values():
            if attempt.todo:
                return attempt, attempt.todo.popleft()
        if self.study.finished + len(self.open) >= self.study.config.trials or time.monotonic() > self.deadline:
            return None
        attempt = self.study.ask()
        self.open[attempt.trial.number] = attempt
        return attempt, attempt.todo.popleft()

    def _begin(self, attempt: Attempt, case: int) -> None:
        key = f"trial {attempt.trial.number}, case {case}"
        record = self.bench.start(key, self.cases[case], attempt.recipe)
        if record is None:
            self.flying[key] = attempt, case
        else:
            self._settle(attempt, case, record)

    def _settle(self, attempt: Attempt, case: int, record: Record) -> None:
        number = attempt.trial.number
        if number not in self.open or not self.study.note(attempt, case, record):
            return  # given up while this case was under way, or not finished yet
        del self.open[number]
        self.ended(number)
        self.failures = self.failures + 1 if record.error else 0
        if self.failures >= FAILURES_MAX:
            raise ConfigError(f"{self.failures} trials in a row failed, the last on {record.input}: {record.error}")
