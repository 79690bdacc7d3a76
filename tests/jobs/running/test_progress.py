"""Progress in words: what a log shows of a run, and work that was done before."""

from typing import Any

import pytest

from jobs.pools.base import Task
from jobs.record import SCHEMA, Outcome, Record, Score
from jobs.running import progress
from jobs.running.encode_settings import EncodeConfig
from jobs.running.progress import Progress
from jobs.running.worklist import Item

ITEMS = [Item(f"in/{i}.png", f"{i}.rdo", 2_000_000) for i in range(4)]


def record(status: Any, gain: float | None = None) -> Record:
    if gain is None:
        return Record(SCHEMA, status, "", "")
    score = Score(1, 1.0, None, None, None, 1.0)
    return Record(SCHEMA, status, "", "", outcome=Outcome("", 1, 1, score, score, gain, verified=True, iters=10))


def test_lines_of_a_log(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress(ITEMS, steps=10) as bar:
        bar.finish(ITEMS[0], record("skipped", 50.0))
        now[0] = 20.0
        bar.finish(ITEMS[1], record("done", 4.0))
        assert capsys.readouterr().err == ""  # not yet
        now[0] = 40.0
        for _ in range(25):  # a search for a target takes more steps than planned
            bar.step(Task(ITEMS[2], EncodeConfig()))
        assert bar.done == pytest.approx(2 / 3 * bar.work) and bar.seconds_left == pytest.approx(20)
        bar.finish(ITEMS[2], record("done", 2.0))
        assert capsys.readouterr().err == "3/4 images, 6.0/8.0 MP, gain 3.00 %, 00:20 left\n"
        now[0] = 80.0
        bar.finish(ITEMS[3], record("failed"))
        assert capsys.readouterr().err == "4/4 images, 8.0/8.0 MP, gain 3.00 %, 00:00 left\n"


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Progress(ITEMS, steps=5) as bar:
        for item in ITEMS:
            for _ in range(5):
                bar.step(Task(item, EncodeConfig()))
            bar.finish(item, record("done", 1.0))
    told = capsys.readouterr().err
    assert "4/4 images, 8.0/8.0 MP, gain 1.00 % 3.png 100%" in told and "left" in told


def test_a_bar_shows_no_control_characters(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    item = Item("in/a\n\x1b[31m.png", "a.rdo", 1000)
    with Progress([item], steps=1) as bar:
        bar.step(Task(item, EncodeConfig()))
    told = capsys.readouterr().err
    assert "\x1b[31m" not in told and "a\\n\\x1b[31m.png" in told


def test_pictures_with_steps_of_their_own_are_work_by_these() -> None:
    with Progress(ITEMS, [1, 3, 0, 5]) as bar:
        assert bar.work == 2 * (1 + 3 + 1 + 5)
        for _ in range(9):
            bar.step(Task(ITEMS[1], EncodeConfig()))
        assert bar.done == 2 * 3
        bar.finish(ITEMS[3], record("done", 1.0))
        assert bar.done == 2 * 8
