"""Pools: what is submitted comes back, whatever becomes of it."""

import math
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import rdo.encoding
from codec.errors import ConfigError
from codec.model import Codec
from jobs.pools.base import Task, take_batch
from jobs.pools.in_process import InProcess
from jobs.pools.worker_pool import Answer, Died, Ready, Step, WorkerPool
from jobs.record import SCHEMA, Record
from jobs.running.encode_settings import EncodeConfig
from jobs.running.encoding import encode
from jobs.running.run import run_tasks
from jobs.running.worklist import NOT_WRITTEN, Item
from rdo.config import RefineConfig
from rdo.memory import STRIP_PIXELS

PLAIN = EncodeConfig(refine=RefineConfig(iters=0), exact="never")
SHORT = EncodeConfig(refine=RefineConfig(iters=2), exact="never")


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
    pool.submit(Task(Item(str(save_photo("a.png", 10, 10)), NOT_WRITTEN, 100), SHORT))
    [(_, record)] = pool.wait()
    assert record.status == "done" and record.outcome and record.outcome.verified
    assert [p.name for p in folder.iterdir()] == ["a.png"]


class Script(WorkerPool[int]):
    """Pool whose workers, numbered as they start, answer as a test scripts it, all at once.

    `answer` gets a worker and the first of its tasks; it returns that task's record, or those of all.
    """

    def __init__(
        self,
        workers_max: int,
        answer: Callable[[int, Task | None], Answer | Record | None],
        seconds_max: float = math.inf,
        batch: int = 1,
        idle_max_s: float = math.inf,
    ) -> None:
        super().__init__(workers_max, seconds_max, batch, idle_max_s=idle_max_s)
        self.answer, self.started, self.killed = answer, 0, list[int]()
        self.asked: dict[int, Task | None] = {}
        self.given = list[list[str]]()

    def start(self) -> int:
        self.started += 1
        self.asked[self.started] = None
        return self.started

    def send(self, handle: int, tasks: list[Task]) -> None:
        self.asked[handle] = tasks[0]
        self.given.append([task.item.input for task in tasks])

    def receive(self, timeout: float | None) -> list[tuple[int, Answer]]:
        answers = [(handle, self.answer(handle, task)) for handle, task in self.asked.items()]
        self.asked = {handle: self.asked[handle] for handle, answer in answers if answer is None}
        if all(answer is None for _, answer in answers):
            assert timeout is not None, "waits for ever"
            time.sleep(timeout)
        alone = [(handle, [answer] if isinstance(answer, Record) else answer) for handle, answer in answers]
        return [(handle, answer) for handle, answer in alone if answer is not None]

    def kill(self, handle: int) -> None:
        self.killed.append(handle)
        self.asked.pop(handle, None)


def task(name: str, pixels: int = 1, config: EncodeConfig = PLAIN) -> Task:
    return Task(Item(name, f"{name}.rdo", pixels), config)


def done(task: Task) -> Record:
    return Record(SCHEMA, "done", f"/elsewhere/{task.item.input}", f"/elsewhere/{task.item.output}")


def collect(pool: WorkerPool[int]) -> dict[str, Record]:
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
        return Died("SIGKILL") if deadly else done(task)

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
    pool = Script(1, lambda handle, task: Ready() if task is None else None, seconds_max=0.3)
    pool.submit(task("slow"))
    assert pool.wait(0.01) == []
    [(_, record)] = pool.wait()
    assert "stopped after 0.3 seconds" in str(record.error) and pool.killed == [1] and pool.wait() == []


@pytest.mark.parametrize(("death", "started"), [(Died("no such device", permanent=True), 1), (Died("SIGKILL"), 3)])
def test_workers_that_cannot_start_end_the_run(death: Died, started: int) -> None:
    pool = Script(1, lambda handle, task: death)
    pool.submit(task("a"))
    with pytest.raises(ConfigError, match=f"no worker can start: {death.reason}"):
        pool.wait()
    assert pool.started == started


def test_one_worker_that_cannot_start_leaves_the_work_to_the_others() -> None:
    pool = Script(2, lambda n, task: (Died("unseen", True) if n == 2 else Ready()) if task is None else done(task))
    for name in "abc":
        pool.submit(task(name))
    assert set(collect(pool)) == {"a", "b", "c"} and pool.slots == 1 and pool.started == 2


def test_one_that_cannot_start_does_not_speak_for_those_still_starting() -> None:
    def answer(handle: int, task: Task | None) -> Answer | Record | None:
        if handle == 1:
            return Died("unseen", permanent=True)
        if task is None:
            return Ready() if 1 in pool.killed else None
        return done(task)

    pool = Script(2, answer)
    for name in "ab":
        pool.submit(task(name))
    assert set(collect(pool)) == {"a", "b"} and pool.slots == 1


def test_a_warning_where_no_worker_starts(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("jobs.pools.worker_pool.START_WARNING_S", 0.02)
    awake = list[bool]()

    def answer(handle: int, task: Task | None) -> Answer | Record | None:
        return done(task) if task else Ready() if awake else None

    pool = Script(1, answer)
    pool.submit(task("a"))
    for _ in range(3):
        assert pool.wait(0.05) == []
    awake.append(True)
    assert set(collect(pool)) == {"a"}
    assert capsys.readouterr().err.count("no worker has started in 0.02 seconds") == 1


def test_a_result_that_waits_to_be_received_is_not_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Script(1, lambda handle, task: None if task else Ready(), seconds_max=30)
    pool.submit(task("a"))
    assert pool.wait(0.01) == [] and pool.workers[0].tasks
    late = pool.workers[0].deadline + 1
    monkeypatch.setattr("jobs.pools.worker_pool.time.monotonic", lambda: late)
    pool.receive = lambda timeout: [(1, Step()), (1, Step()), (1, [done(task("a"))])]  # type: ignore[method-assign]
    [(_, record)] = pool.wait()
    assert record.status == "done"


def test_no_more_workers_than_there_is_work() -> None:
    pool = Script(8, lambda handle, task: Ready() if task is None else done(task))
    assert pool.wait() == [] and pool.started == 0
    pool.submit(task("a"))
    assert set(collect(pool)) == {"a"} and pool.started == 1


def test_workers_without_work_are_ended_while_the_last_task_runs_and_started_anew_for_more() -> None:
    pool = Script(2, lambda n, t: Ready() if t is None else None if "slow" in t.item.input else done(t), idle_max_s=0.2)
    for name in ("slow", "a"):
        pool.submit(task(name))
    assert [found.item.input for found, _ in pool.wait(0.1)] == ["a"]
    assert pool.wait(0.05) == [] and len(pool.workers) == 2
    assert pool.wait(0.3) == [] and pool.killed == [2] and pool.workers[0].tasks == [task("slow")]
    pool.submit(task("b"))
    assert [found.item.input for found, _ in pool.wait(1)] == ["b"] and pool.started == 3


def test_a_pool_that_grows_gets_more_tasks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.running.run.REFILL_S", 0.05)
    pool = Script(1, lambda n, t: Ready() if t is None else done(t) if len(pool.workers) == 3 else None)

    def receive(timeout: float | None) -> list[tuple[int, Answer]]:
        pool.workers_max = 3  # as when machines join a cluster
        return Script.receive(pool, timeout)

    pool.receive = receive  # type: ignore[method-assign]
    records = list(run_tasks([task(name) for name in "abc"], None, None, pool))
    assert sorted(record.input for record in records) == ["a", "b", "c"] and pool.started == 3


def test_pictures_alike_go_together_and_alone_after_a_death() -> None:
    met = Counter[str]()

    def answer(handle: int, first: Task | None) -> Answer:
        if first is None:
            return Ready()
        together = pool.given[-1]
        met.update(together)
        return Died("SIGKILL") if "poison" in together else [done(task(name)) for name in together]

    pool = Script(1, answer, batch=3)
    assert (pool.slots, pool.prefetch) == (3, 3)
    for name in ("a", "poison", "b", "c", "d"):
        pool.submit(task(name))
    pool.submit(task("large", 2))
    found = collect(pool)
    assert {name: record.status for name, record in found.items()} == {
        "a": "done", "poison": "failed", "b": "done", "c": "done", "d": "done", "large": "done",
    }  # fmt: skip
    assert pool.given[:3] == [["a", "poison", "b"], ["c", "d"], ["large"]]
    assert met == {"a": 2, "poison": 3, "b": 2, "c": 1, "d": 1, "large": 1}


def test_a_batch_is_of_one_size_and_config_and_within_a_strip() -> None:
    narrow = EncodeConfig(refine=RefineConfig(strip_pixels=250))
    targeted = EncodeConfig(target_bytes=100)

    def taken(*tasks: Task, device: str = "cpu") -> list[str]:
        return [task.key or task.item.input for task in take_batch(deque(tasks), 4, device)]

    assert taken(task("a"), task("b", 2), task("c"), task("d", config=SHORT), task("e")) == ["a", "c", "e"]
    assert taken(*(task(name, 100, narrow) for name in "abc")) == ["a", "b"]
    assert taken(*(task(name, 999, narrow) for name in "ab")) == ["a"]
    assert taken(*(task(name, STRIP_PIXELS // 2) for name in "abc")) == ["a", "b"]
    assert taken(*(task(name, STRIP_PIXELS // 2) for name in "abc"), device="cuda:1") == ["a", "b", "c"]
    assert taken(*(task(name, config=targeted) for name in "ab")) == ["a"]
    assert taken(*(task(name) for name in "abcdef")) == ["a", "b", "c", "d"]


def test_pictures_refined_together_are_each_judged_alone(codec: Codec, save_photo: Callable[..., Path]) -> None:
    Path("broken.png").write_bytes(b"no picture")
    names = {"a": (30, 20), "b": (30, 20), "turned": (20, 30)}
    items = [Item(str(save_photo(f"{name}.png", *size)), f"{name}.rdo", 600) for name, size in names.items()]
    items.append(Item("broken.png", "broken.rdo", 600))
    pool, steps = InProcess(codec, batch_max=4), Counter[str]()
    pool.on_step = lambda task: steps.update([task.item.output])
    for item in items:
        pool.submit(Task(item, SHORT))
    together = [record for _, record in pool.wait()]
    assert [record.status for record in together] == ["done", "done", "done", "failed"]
    assert set(steps) == {item.output for item in items}
    for item, record in zip(items[:3], together, strict=False):
        [alone] = encode([replace(item, output=NOT_WRITTEN)], codec, SHORT, lambda step: None)
        assert alone.outcome and record.outcome and record.input_sha256 == alone.input_sha256
        cost = alone.measured.refined.cost
        assert record.measured.refined.cost == pytest.approx(cost, rel=1e-2) and Path(item.output).is_file()


@pytest.mark.parametrize(
    ("error", "expected"), [(MemoryError(), [4, 2, 1, 1, 2, 1, 1]), (ValueError("wrong"), [4, 1, 1, 1, 1])]
)
def test_what_fails_together_is_tried_in_smaller_company(
    error: Exception, expected: list[int], codec: Codec, save_photo: Callable[..., Path], monkeypatch: Any
) -> None:
    honest, sizes = rdo.encoding.refine, list[int]()

    def refine(codec: Codec, x: Tensor, *args: Any, **settings: Any) -> Any:
        sizes.append(len(x))
        if len(x) > 1:
            raise error
        return honest(codec, x, *args, **settings)

    monkeypatch.setattr(rdo.encoding, "refine", refine)
    items = [Item(str(save_photo(f"{n}.png", 20, 20)), NOT_WRITTEN, 400) for n in range(4)]
    assert {record.status for record in encode(items, codec, PLAIN, lambda step: None)} == {"done"}
    assert sizes == expected
