"""Progress in words: what a log shows of a run, and work that was done before."""

from dataclasses import replace
from typing import Any

import pytest

from jobs.pools.base import Task
from jobs.record import SCHEMA, Outcome, Record, Score
from jobs.running import progress
from jobs.running.encode_settings import EncodeConfig
from jobs.running.progress import PLAIN_STEPS, REFINED_STEPS, Part, Progress, work_of
from jobs.running.worklist import Item
from rdo.config import RefineConfig

ITEMS = [Item(f"in/{i}.png", f"{i}.rdo", 2_000_000) for i in range(4)]


def tasks_of(*steps: int) -> list[Task]:
    """Return a task for each item, with its own number of steps."""
    config = EncodeConfig()
    return [Task(i, replace(config, refine=RefineConfig(iters=n))) for i, n in zip(ITEMS, steps, strict=True)]


def record(status: Any, gain: float | None = None) -> Record:
    if gain is None:
        return Record(SCHEMA, status, "", "")
    score = Score(1, 1.0, None, None, None, 1.0)
    return Record(SCHEMA, status, "", "", outcome=Outcome("", 1, 1, score, score, gain, verified=True, iters=10))


def test_lines_of_a_log(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    now, tasks = [0.0], tasks_of(10, 10, 10, 10)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress(tasks) as bar:
        bar.finish(tasks[0], record("skipped", 50.0))
        now[0] = 20.0
        bar.finish(tasks[1], record("done", 4.0))
        assert capsys.readouterr().err == ""  # not yet
        now[0] = 40.0
        for _ in range(25):  # a search for a target takes more steps than planned
            bar.step(tasks[2])
        part = (1 + 10 / (10 + REFINED_STEPS)) / 3
        assert bar.done == pytest.approx(part * bar.work) and bar.seconds_left == pytest.approx(40 * (1 / part - 1))
        bar.finish(tasks[2], record("done", 2.0))
        assert capsys.readouterr().err == "3/4 images, 6.0/8.0 MP, gain 3.00 %, 00:20 left\n"
        now[0] = 80.0
        bar.finish(tasks[3], record("failed"))
        assert capsys.readouterr().err == "4/4 images, 8.0/8.0 MP, gain 3.00 %, 00:00 left\n"


def test_a_pass_tells_its_place_and_the_time_left_of_all(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    now, tasks = [0.0], tasks_of(0, 0, 0, 0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    after = work_of(tasks_of(21, 21, 21, 21))
    assert work_of(tasks) == 4 * 2 * PLAIN_STEPS and after == 4 * 2 * (21 + REFINED_STEPS)
    with Progress(tasks, Part("pass 1 of 2, measuring", after=after)) as bar:
        now[0] = 60.0
        bar.finish(tasks[0], record("done", 0.0))  # plain: there is no gain to show
        left = 60 * (3 + 4 * (21 + REFINED_STEPS) / PLAIN_STEPS)
        assert bar.seconds_left == pytest.approx(left)
        assert capsys.readouterr().err.startswith("pass 1 of 2, measuring: 1/4 images, 2.0/8.0 MP, 43:00 left")
    with Progress(tasks, Part("group 2", left_s=100.0)) as bar:
        now[0] += 40.0
        bar.finish(tasks[0], record("done"))
        assert bar.seconds_left == 60.0
        now[0] += 90.0
        assert bar.seconds_left == 0.0


def test_pictures_that_are_encoded_several_times_are_no_images_more() -> None:
    tasks = [task for steps in (0, 2) for task in tasks_of(steps, steps, steps, steps)]
    with Progress(tasks) as bar:
        bar.finish(tasks[0], record("done", 0.0))
        for _ in range(3):
            bar.step(tasks[4])
        assert bar.done == 2 * (PLAIN_STEPS + 2), "each task counts its own steps"
        assert str(bar).startswith("1/8 encodings, ")


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    tasks = tasks_of(5, 5, 5, 5)
    with Progress(tasks, Part("pass 2 of 2", before=work_of(tasks))) as bar:
        for task in tasks:
            for _ in range(5):
                bar.step(task)
            bar.finish(task, record("done", 1.0))
    told = capsys.readouterr().err
    assert "pass 2 of 2: 4/4 images, 8.0/8.0 MP, gain 1.00 % 3.png 100%" in told and ", 00:00 left" in told
    assert "  0%" not in told.split("3.png")[1], "half was done before"


def test_a_bar_shows_no_control_characters(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    task = Task(Item("in/a\n\x1b[31m.png", "a.rdo", 1000), EncodeConfig())
    with Progress([task]) as bar:
        bar.step(task)
    told = capsys.readouterr().err
    assert "\x1b[31m" not in told and "a\\n\\x1b[31m.png" in told


def test_pictures_with_steps_of_their_own_are_work_by_these() -> None:
    tasks = tasks_of(1, 3, 0, 5)
    with Progress(tasks) as bar:
        assert bar.work == 2 * (1 + 3 + 5 + 3 * REFINED_STEPS + PLAIN_STEPS)
        for _ in range(9):
            bar.step(tasks[1])
        assert bar.done == 2 * 3
        bar.finish(tasks[3], record("done", 1.0))
        assert bar.done == 2 * (3 + 5 + REFINED_STEPS)
