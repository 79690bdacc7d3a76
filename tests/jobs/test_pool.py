"""Pools: what is submitted comes back, whatever becomes of it."""

from collections.abc import Callable
from pathlib import Path

from codec.model import Codec
from jobs.local import InProcess
from jobs.pool import Task
from jobs.worker import EncodeConfig
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
