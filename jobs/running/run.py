"""A run over many pictures: one loop for every pool, a bar over all their steps, records as they come."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from codec.interface import AnyCodec
from jobs.cli import say
from jobs.pools.base import Pool, Task, take_alike
from jobs.record import Record, append_record
from jobs.running.encode_settings import EncodeConfig
from jobs.running.encoding import OUT_OF_MEMORY, encode
from jobs.running.history import History, sole_writer
from jobs.running.progress import Progress
from jobs.running.worklist import Item

RESULTS = "results.jsonl"


def run(
    items: list[Item],
    codec: AnyCodec,
    config: EncodeConfig,
    results: Path | None,
    overwrite: bool,
    pool: Pool | None = None,
) -> Iterator[Record]:
    """Encode every item that is not done yet, yielding a record for each; one failure does not stop the rest.

    Args:
        results: where records are appended; None keeps none.
        overwrite: encode again what is done, and replace files in folders that hold no results of ours.
        pool: who encodes, with the same model as `codec`; None is this process.

    Raises:
        ConfigError: another run writes there, or no worker can work at all.
    """
    pool = pool or InProcess(codec)
    known = results is not None and results.exists()
    with sole_writer(results) if results else nullcontext(), Progress(items, config.refine.iters) as progress:
        before = History(results, known, codec, config)
        pool.on_step = progress.step
        told, cwd = set[str](), str(Path.cwd())

        def settle(item: Item) -> Record | None:
            if overwrite:
                return None
            record = before.settled(item)
            if record is None and before.replaces(item):
                tell(item, "replacing what other settings made, or what changed since; -o names another folder")
            elif record and before.is_kept(record):
                tell(item, "keeping what took more steps than are asked for; --overwrite replaces it")
            return record

        def tell(item: Item, text: str) -> None:
            if text not in told:
                told.add(text)
                say(f"{results.parent if results else Path(item.output).parent}: {text}")

        for item, record in _work_through(items, config, pool, settle):
            record = replace(record, cwd=cwd)
            if results is not None and record.status != "skipped":
                _keep(record, results)
            progress.finish(item, record)
            yield record


def plan(
    items: list[Item], codec: AnyCodec, config: EncodeConfig, results: Path | None, overwrite: bool
) -> Iterator[tuple[Item, Record | None, bool]]:
    """What `run` would do: every item, the record of what needs no work, and whether a file would be replaced."""
    before = History(results, results is not None and results.exists(), codec, config)
    for item in items:
        record = None if overwrite else before.settled(item)
        yield item, record, record is None and before.replaces(item)


def _keep(record: Record, results: Path) -> None:
    try:
        append_record(results, record)
    except OSError as error:  # a run that can keep no record is over; say of which file
        error.filename = error.filename or str(results)
        raise


def _work_through(
    items: list[Item], config: EncodeConfig, pool: Pool, settle: Callable[[Item], Record | None]
) -> Iterator[tuple[Item, Record]]:
    """Each item and its record, in the order of their ends.

    A few more tasks are under way than run at a time, so that no worker waits for the next to be decided on. What ran
    out of memory in company is tried again alone, after all others.
    """
    todo, starved = deque(items), list[Task]()
    under_way = 0
    while todo or under_way or starved:
        if todo and under_way < pool.slots + pool.spare:
            item = todo.popleft()
            if record := settle(item):
                yield item, record
            else:
                pool.submit(Task(item, config))
                under_way += 1
            continue
        if not under_way:
            pool.submit(starved.pop())
            under_way += 1
        in_company = bool(todo) or under_way > 1
        for task, record in pool.wait():
            under_way -= 1
            if in_company and pool.slots > 1 and (record.error or "").startswith(OUT_OF_MEMORY):
                starved.append(task)
            else:
                yield task.item, record


class InProcess:
    """A pool of one worker, this process: `wait` encodes, up to `batch` pictures of one size together."""

    spare = 0

    def __init__(self, codec: AnyCodec, batch: int = 1) -> None:
        self.codec, self.slots = codec, batch
        self.queue: deque[Task] = deque()
        self.on_step: Callable[[Task], None] = lambda task: None

    def submit(self, task: Task) -> None:
        """See `Pool`."""
        self.queue.append(task)

    def wait(self, timeout: float | None = None) -> list[tuple[Task, Record]]:  # noqa: ARG002  (never cut short)
        """See `Pool`; a picture that was begun is finished, however long it takes."""
        if not self.queue:
            return []
        tasks = take_alike(self.queue, self.slots, str(self.codec.device))
        records = encode([task.item for task in tasks], self.codec, tasks[0].config, lambda step: self._step(tasks))
        return list(zip(tasks, records, strict=True))

    def close(self) -> None:
        """See `Pool`."""
        self.queue.clear()

    def _step(self, tasks: list[Task]) -> None:
        for task in tasks:
            self.on_step(task)
