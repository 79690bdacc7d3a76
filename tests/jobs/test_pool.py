"""Pools: what is submitted comes back, whatever becomes of it."""

import math
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from codec.errors import ConfigError
from codec.model import Codec
from jobs.record import SCHEMA, Record
from jobs.running.local import InProcess
from jobs.running.pool import Answer, Crew, Lost, Ready, Task
from jobs.running.worker import EncodeConfig
from jobs.worklist import NOWHERE, Item
from rdo.config import RefineConfig

PLAIN = EncodeConfig(refine=RefineConfig(iters=0))
SHORT = EncodeConfig(refine=RefineConfig(iters=2))


def test_in_process_tasks_come_back_in_order(codec: Codec, save_photo: Callable[..., Path]) -> None:
    pool, steps = InProcess(codec), list[str]()
    pool.on_step = lambda task: steps.append(task.key)
    good = Item(str(save_photo("a.png", 10, 10)), "out/a.rdo", 100)
    pool.submit(Task(good, SHORT, "one"))
    pool.submit(Task(Item("missing.png", "out/b.rdo", 0), PLAIN, "two"))
    answers = [pool.wait(), pool.wait(), pool.wait()]
    assert [[(task.key, record.status) for task, record in some] for some in answers] == [
        [("one", "done")], [("two", "failed")], [],
    ]  # fmt: skip
    assert steps == ["one", "one"] and Path("out/a.rdo").is_file() and not Path("out/b.rdo").exists()


def test_what_goes_nowhere_is_scored_and_not_written(
    codec: Codec, save_photo: Callable[..., Path], folder: Path
) -> None:
    pool = InProcess(codec)
    pool.submit(Task(Item(str(save_photo("a.png", 10, 10)), NOWHERE, 100), SHORT))
    [(_, record)] = pool.wait()
    assert record.status == "done" and record.verified and record.refined is not None
    assert [p.name for p in folder.iterdir()] == ["a.png"]


class Script(Crew[int]):
    """A crew whose workers, numbered as they start, answer what a test tells them to, all at once."""

    def __init__(self, slots: int, answer: Callable[[int, Task | None], Answer | None], seconds_max: float = math.inf):
        super().__init__(slots, seconds_max)
        self.answer, self.started, self.killed = answer, 0, list[int]()
        self.asked: dict[int, Task | None] = {}

    def start(self) -> int:
        self.started += 1
        self.asked[self.started] = None
        return self.started

    def give(self, handle: int, task: Task) -> None:
        self.asked[handle] = task

    def listen(self, timeout: float | None) -> list[tuple[int, Answer]]:
        answers = [(handle, self.answer(handle, task)) for handle, task in self.asked.items()]
        self.asked = {handle: self.asked[handle] for handle, answer in answers if answer is None}
        if all(answer is None for _, answer in answers):
            assert timeout is not None, "waits for ever"
            time.sleep(timeout)
        return [(handle, answer) for handle, answer in answers if answer is not None]

    def kill(self, handle: int) -> None:
        self.killed.append(handle)
        self.asked.pop(handle, None)


def task(name: str) -> Task:
    return Task(Item(name, f"{name}.rdo", 1), PLAIN)


def done(task: Task) -> Record:
    return Record(SCHEMA, "done", f"/elsewhere/{task.item.input}", f"/elsewhere/{task.item.output}")


def collect(pool: Crew[int]) -> dict[str, Record]:
    found = {}
    while some := pool.wait():
        found |= {task.item.input: record for task, record in some}
    return found


def test_a_picture_that_kills_its_workers_is_tried_thrice_and_the_rest_is_done() -> None:
    met = Counter[str]()

    def answer(handle: int, task: Task | None) -> Answer:
        if task is None:
            return Ready()
        met[task.item.input] += 1
        deadly = task.item.input == "poison" or (task.item.input == "unlucky" and met["unlucky"] == 1)
        return Lost("SIGKILL") if deadly else done(task)

    pool = Script(2, answer)
    for name in ("poison", "unlucky", "a", "b"):
        pool.submit(task(name))
    found = collect(pool)
    assert met == {"poison": 3, "unlucky": 2, "a": 1, "b": 1}
    assert found["poison"].status == "failed" and "died 3 times (SIGKILL)" in str(found["poison"].error)
    assert {name: record.status for name, record in found.items() if name != "poison"} == {
        "unlucky": "done", "a": "done", "b": "done",
    }  # fmt: skip
    assert found["a"].input == "a" and found["a"].output == "a.rdo"
    pool.close()
    assert sorted(pool.killed) == list(range(1, pool.started + 1))


def test_a_picture_over_time_is_stopped_and_not_tried_again() -> None:
    pool = Script(1, lambda handle, task: Ready() if task is None else None, seconds_max=0.05)
    pool.submit(task("slow"))
    assert pool.wait(0.01) == []
    [(_, record)] = pool.wait()
    assert "stopped after 0.05 seconds" in str(record.error) and pool.killed == [1] and pool.wait() == []


@pytest.mark.parametrize(("lost", "started"), [(Lost("no such device", hopeless=True), 1), (Lost("SIGKILL"), 3)])
def test_workers_that_cannot_start_end_the_run(lost: Lost, started: int) -> None:
    pool = Script(1, lambda handle, task: lost)
    pool.submit(task("a"))
    with pytest.raises(ConfigError, match=f"no worker can start: {lost.reason}"):
        pool.wait()
    assert pool.started == started


def test_one_worker_that_cannot_start_leaves_the_work_to_the_others() -> None:
    pool = Script(2, lambda n, task: (Lost("unseen", True) if n == 2 else Ready()) if task is None else done(task))
    for name in "abc":
        pool.submit(task(name))
    assert set(collect(pool)) == {"a", "b", "c"} and pool.slots == 1 and pool.started == 2


def test_no_more_workers_than_there_is_work() -> None:
    pool = Script(8, lambda handle, task: Ready() if task is None else done(task))
    assert pool.wait() == [] and pool.started == 0
    pool.submit(task("a"))
    assert set(collect(pool)) == {"a"} and pool.started == 1
