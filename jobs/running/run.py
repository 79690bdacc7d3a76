"""Runs over many images: one loop for every pool, a progress bar over all steps, records as they come."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from codec.interface import AnyCodec
from codec.places import folder_of
from jobs.cli import say
from jobs.pools.base import Pool, Task
from jobs.pools.in_process import InProcess
from jobs.record import Record
from jobs.running.encode_settings import EncodeConfig
from jobs.running.failures import OUT_OF_MEMORY
from jobs.running.history import History
from jobs.running.progress import WHOLE, Part, Progress
from jobs.running.record_log import RecordLog
from jobs.running.worklist import Item

REFILL_S = 5.0  # between two looks at whether a pool has grown


class Planned(NamedTuple):
    """Plan for one item: `record` where it needs no encoding, else whether its file `replaces` another."""

    item: Item
    record: Record | None
    replaces: bool


def run(
    items: list[Item],
    codec: AnyCodec,
    config: EncodeConfig,
    log: RecordLog | None,
    overwrite: bool,
    pool: Pool | None = None,
    *,
    part: Part = WHOLE,
) -> Iterator[Record]:
    """Encode all items that are not done yet; yield a record for each. A failed image does not stop the others.

    Args:
        log: log that records are appended to, None for none.
        overwrite: whether to encode what is done again, and to replace files that no record names.
        pool: encoder with the same model as `codec`; None is this process.
        part: place of these items in the progress of a longer run.

    Raises:
        ConfigError: another run writes to the log, or no worker can start.
        StorageError, OSError: a record could not be kept.
    """
    existed = log is not None and log.exists()
    with log.writing() if log else nullcontext():
        history = None if overwrite else History(log, existed, codec, config.policy)
        tasks = [Task(item, config) for item in items]
        yield from run_tasks(tasks, history, log, pool or InProcess(codec), part=part)


def run_tasks(
    tasks: list[Task], history: History | None, log: RecordLog | None, pool: Pool, *, part: Part = WHOLE
) -> Iterator[Record]:
    """Encode the images of all tasks that are not done yet; yield a record for each, in the order in which they finish.

    Args:
        tasks: images, each with settings of its own.
        history: records that say what is done; None encodes all, whatever is there.
        log: log that records are appended to, None for none.
        pool: encoder.
        part: place of these tasks in the progress of a longer run.

    Raises:
        ConfigError: no worker can start.
        StorageError, OSError: a record could not be kept.
    """
    notices, cwd = set[str](), str(Path.cwd())

    def find_done(task: Task) -> Record | None:
        if history is None:
            return None
        record = history.find_done(task.item, task.config)
        if record is None and history.replaces(task.item):
            notify(task.item, "replacing what other settings made, or what changed since; -o names another folder")
        elif record and history.is_kept(record, task.config):
            notify(task.item, "keeping what took more steps than are asked for; --overwrite replaces it")
        return record

    def notify(item: Item, text: str) -> None:
        """Print a notice, once in a run."""
        if text not in notices:
            notices.add(text)
            say(f"{log.folder if log else folder_of(item.output)}: {text}")

    with Progress(tasks, part) as progress:
        pool.on_step = progress.step
        for task, record in _encode_all(tasks, pool, find_done):
            record = replace(record, cwd=cwd)
            if log is not None and record.status != "skipped":
                log.append(record)
            progress.finish(task, record)
            yield record


def plan(
    items: list[Item], codec: AnyCodec, config: EncodeConfig, log: RecordLog | None, overwrite: bool
) -> Iterator[Planned]:
    """Yield what `run` would do with each item, without encoding."""
    history = History(log, log is not None and log.exists(), codec, config.policy)
    for item in items:
        record = None if overwrite else history.find_done(item, config)
        yield Planned(item, record, record is None and history.replaces(item))


def _encode_all(
    tasks: list[Task], pool: Pool, find_done: Callable[[Task], Record | None]
) -> Iterator[tuple[Task, Record]]:
    """Yield each task and its record, in the order in which they finish.

    `pool.prefetch` tasks are submitted beyond those that run, so that no worker waits while `find_done` hashes files.
    Tasks that ran out of memory in a batch, or with other workers busy, are retried alone, after all others.
    """
    todo, retries = deque(tasks), list[Task]()
    under_way = 0
    while todo or under_way or retries:
        if todo and under_way < pool.slots + pool.prefetch:
            task = todo.popleft()
            if record := find_done(task):
                yield task, record
            else:
                pool.submit(task)
                under_way += 1
            continue
        if not under_way:
            pool.submit(retries.pop())
            under_way += 1
        shared = bool(todo) or under_way > 1
        for task, record in pool.wait(REFILL_S):
            under_way -= 1
            if shared and pool.slots > 1 and (record.error or "").startswith(OUT_OF_MEMORY):
                retries.append(task)
            else:
                yield task, record
